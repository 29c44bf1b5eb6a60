"""A picture as text, for a terminal: what runs in order, loops as boxes with what goes back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from .measure import label_of
from .scene import Box, Frame, Scene

Span = tuple[str, str]
"""A piece of text and its style: one of STYLES, or a hue."""
Line = list[Span]

WIDTH = 100
INDENT = 2
# As terminals number them (ECMA-48); hues are near those of theme.py.
STYLES: Mapping[str, str] = {
    "": "", "bold": "1", "muted": "2", "loop": "35", "input": "36", "model": "37", "text": "32",
    "schedule": "35", "latents": "33", "prediction": "31", "control": "33", "image": "34",
    "mask": "36", "value": "37",
}  # fmt: skip


def text(scene: Scene, *, width: int = WIDTH, colour: bool = False) -> str:
    """Draw a scene as lines of at most so many letters, if need be longer."""
    lines: list[Line] = [[(scene.title, "bold"), (f"  {scene.doc}", "muted")], []]
    chips = [[(name, "input"), (f" {value}", "muted")] if value else [(name, "input")]
             for name, value in scene.inputs]  # fmt: skip
    if chips:
        lines += _flow([("inputs ", "muted")], chips, width)
        lines.append([])
    lines += _content(scene.root, width)
    if scene.facts:
        lines += [[], [(scene.facts, "muted")]]
    return "".join(_painted(line, colour) + "\n" for line in lines)


def _painted(line: Line, colour: bool) -> str:
    painted = [
        f"\033[{STYLES[style]}m{words}\033[0m" if colour and STYLES[style] else words
        for words, style in line
    ]
    return "".join(painted).rstrip()


def _length(line: Iterable[Span]) -> int:
    return sum(len(words) for words, _ in line)


def _flow(head: Line, pieces: Iterable[Line], width: int) -> list[Line]:
    """Write pieces one after the other behind a head, and below it where the line is full."""
    lines, indent = [list(head)], _length(head)
    for piece in pieces:
        if _length(lines[-1]) + 2 + _length(piece) > width and _length(lines[-1]) > indent:
            lines.append([(" " * indent, "")])
        first = _length(lines[-1]) == indent
        lines[-1] += piece if first else [("  ", ""), *piece]
    return lines


def _content(frame: Frame, width: int) -> list[Line]:
    """Write what is in a frame: what comes in, what runs in order, what goes out."""
    entries = [box for box in frame.entries if box.role == "variable"]
    exits = [box for box in frame.exits if box.role == "variable"]
    boxes = [item for item in frame.items if isinstance(item, Box)]
    columns = (
        max([len(box.title) for box in (*entries, *boxes, *exits)], default=0) + 2,
        max([len(box.node) for box in boxes], default=-2) + 2,
    )
    lines = [line for box in entries for line in _variable(box, columns, width)]
    lines += [[]] if entries else []
    for item in _in_order(frame):
        if isinstance(item, Box):
            lines += _call(item, columns, width)
        else:
            lines += _loop(item, width) if item.is_loop else _group(item, width)
    lines += [[]] if exits else []
    # Backwards, so that what goes back from the last line comes to the innermost place.
    backs = {back.source for back in frame.backs}
    ordered = [box for box in exits if box.name not in backs]
    ordered += [box for box in reversed(exits) if box.name in backs]
    return lines + [line for box in ordered for line in _variable(box, columns, width)]


def _in_order(frame: Frame) -> Iterator[Box | Frame]:
    """Walk over the items of a frame, each after what it needs."""
    import networkx as nx

    items = {item.name: item for item in frame.items}
    place = {name: number for number, name in enumerate(items)}
    needs: nx.DiGraph[str] = nx.DiGraph()
    needs.add_nodes_from(items)
    needs.add_edges_from(
        (wire.source.box, wire.target.box)
        for wire in frame.wires
        if wire.source.box in items and wire.target.box in items
    )
    for name in nx.lexicographical_topological_sort(needs, key=place.__getitem__):
        yield items[name]


def _given(box: Box) -> Iterator[Line]:
    for port in box.inputs:
        name: Line = [(f"{port.label} ", "muted")] if port.label else []
        yield [*name, ("← ", "muted"), (port.origin, port.hue)]
    for setting in box.settings:
        yield [(setting.words, "input" if setting.is_input else "muted")]


def _call(box: Box, columns: tuple[int, int], width: int) -> list[Line]:
    head: Line = [(box.title.ljust(columns[0]), "bold"), (box.node.ljust(columns[1]), "muted")]
    results: list[Line] = [[("→ ", "muted"), (label_of(port), port.hue)] for port in box.outputs]
    note: list[Line] = [[(f"({box.note})", "muted")]] if box.note else []
    return _flow(head, [*_given(box), *results, *note], width)


def _variable(box: Box, columns: tuple[int, int], width: int) -> list[Line]:
    return _flow([(box.title.ljust(columns[0]), "bold")], _given(box), width)


def _group(frame: Frame, width: int) -> list[Line]:
    inner = _content(frame, width - INDENT)
    head: Line = [(f"{frame.title}/", "bold"), (f"  {frame.subtitle}", "muted")]
    return [head, *([("┊ ", "muted"), *line] for line in inner)]


def _loop(frame: Frame, width: int) -> list[Line]:
    """Draw a box around a loop, and to the right of it what goes back to the next step."""
    inner = _content(frame, width - 4 - 2 * len(frame.backs))
    title = f" {frame.title} · {frame.subtitle} "
    wide = max([len(title), *(_length(line) for line in inner)])
    ways = _ways_back(frame, inner)
    lines: list[Line] = [[("╭─", "loop"), (title + "─" * (wide - len(title)) + "─╮", "loop")]]
    for line, way in zip(inner, ways, strict=True):
        space = " " * (wide - _length(line))
        lines.append([("│ ", "loop"), *line, (f"{space} │", "loop"), *way])
    return [*lines, [("╰" + "─" * (wide + 2) + "╯", "loop")]]


def _ways_back(frame: Frame, lines: Sequence[Line]) -> list[Line]:
    """Lead what a loop carries from its last lines up to its first, one way outside the other."""
    named = [line[0][0].strip() if line else "" for line in lines]
    titles = {box.name: box.title for box in (*frame.entries, *frame.exits)}
    ways: list[Line] = [[] for _ in lines]
    for back in reversed(frame.backs):  # the innermost first
        first = named.index(titles[back.target])
        last = len(named) - 1 - named[::-1].index(titles[back.source])
        reach = max(_length(way) for way in ways[first : last + 1])
        for row in range(first, last + 1):
            fill = "─" if row in (first, last) else " "
            ways[row].append((fill * (reach + 1 - _length(ways[row])), back.hue))
            ways[row].append(({first: "╮", last: "╯"}.get(row, "│"), back.hue))
        ways[first][0] = ("◀" + ways[first][0][0][1:], back.hue)
    return ways
