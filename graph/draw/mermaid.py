"""A picture in Mermaid's language, which GitHub draws in any Markdown file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .scene import Box, Frame, Scene, boxes_of, frames_of
from .theme import HUES

_ENTITIES = str.maketrans(
    {letter: f"#{ord(letter)};" for letter in '#"<>&`\\[]{}()|;%'} | {"\n": " "}
)


def mermaid(scene: Scene) -> str:
    """Write a scene as a flowchart: loops and subgraphs as subgraphs, what goes back dotted."""
    names = [box.name for box in boxes_of(scene.root) if box.role != "passage"]
    ids = {name: f"n{number}" for number, name in enumerate(names)}
    lines = ["flowchart TD", *_frame(scene.root, ids, "  ")]
    wires = list(dict.fromkeys(_wires(scene.root, ids)))
    lines += [f"  {line}" for line, _ in wires]
    hues: dict[str, list[int]] = {}
    for number, (_, hue) in enumerate(wires):
        hues.setdefault(hue, []).append(number)
    for hue, numbers in hues.items():
        style = f"stroke:{HUES[hue].light},stroke-width:2px"
        lines.append(f"  linkStyle {','.join(map(str, numbers))} {style}")
    return "\n".join(lines) + "\n"


def _words(text: str) -> str:
    """Escape whatever has a meaning in Mermaid or in HTML."""
    return text.translate(_ENTITIES)


def _frame(frame: Frame, ids: Mapping[str, str], indent: str) -> Iterator[str]:
    shown = [box for box in (*frame.entries, *frame.items, *frame.exits) if isinstance(box, Box)]
    for box in shown:
        if box.role == "variable":
            yield f'{indent}{ids[box.name]}(["{_words(box.title)}"])'
        elif box.role == "call":
            node = f"<br/><small>{_words(box.node)}</small>" if box.node != box.title else ""
            yield f'{indent}{ids[box.name]}["{_words(box.title)}{node}"]'
    for inner in frame.items:
        if isinstance(inner, Frame):
            title = f"{inner.title} · {inner.subtitle}" if inner.is_loop else inner.title
            first = next(box for box in boxes_of(inner) if box.role != "passage")
            yield f'{indent}subgraph s{ids[first.name]}["{_words(title)}"]'
            yield from _frame(inner, ids, indent + "  ")
            yield f"{indent}end"


def _wires(root: Frame, ids: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Write each wire from box to box, whatever borders it crosses, and its colour."""
    frames = list(frames_of(root))
    owners = {port.key: box.name for frame in frames for box in frame.exits for port in box.outputs}
    for frame in frames:
        for wire in frame.wires:
            # A wire to a loop goes to the variable in it; one to a passage is drawn further in.
            target = wire.target.box if wire.target.box in ids else wire.target.port
            if target in ids:
                source = wire.origin.box if wire.origin.box in ids else owners[wire.origin.port]
                yield f"{ids[source]} --> {ids[target]}", wire.hue
        for back in frame.backs:
            way = f'{ids[back.source]} -. "next step" .-> {ids[back.target]}'
            yield way, back.hue
