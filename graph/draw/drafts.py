"""Boxes and frames while they are being filled, and how a wire finds its way across borders."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..blocks import Reference
from .scene import Back, Box, Detail, End, Frame, Port, Role, Setting, Wire


@dataclass
class DraftBox:
    """A box that still gets ports."""

    name: str
    title: str
    role: Role
    inputs: dict[str, Port] = field(default_factory=dict[str, Port])
    outputs: dict[str, Port] = field(default_factory=dict[str, Port])
    node: str = ""
    settings: list[Setting] = field(default_factory=list[Setting])
    note: str = ""
    conditional: bool = False
    detail: Detail | None = None

    def finish(self) -> Box:
        """Freeze it."""
        return Box(
            self.name,
            self.title,
            self.role,
            tuple(self.inputs.values()),
            tuple(self.outputs.values()),
            self.node,
            tuple(self.settings),
            self.note,
            self.conditional,
            self.detail,
        )


@dataclass
class DraftFrame:
    """A frame that still gets boxes and wires."""

    name: str
    title: str
    parent: DraftFrame | None
    is_loop: bool = False
    subtitle: str = ""
    entries: dict[str, DraftBox] = field(default_factory=dict[str, DraftBox])
    items: dict[str, DraftBox | DraftFrame] = field(
        default_factory=dict[str, "DraftBox | DraftFrame"]
    )
    exits: dict[str, DraftBox] = field(default_factory=dict[str, DraftBox])
    wires: dict[tuple[End, End], Wire] = field(default_factory=dict[tuple[End, End], Wire])
    backs: list[Back] = field(default_factory=list[Back])
    detail: Detail | None = None

    def chain(self) -> list[DraftFrame]:
        """List the frames from the outermost to this one."""
        return [*(self.parent.chain() if self.parent else []), self]

    def join(self, source: End, target: End, origin: End, port: Port, words: str) -> None:
        """Draw a wire within this frame."""
        self.wires[source, target] = Wire(source, target, origin, port.hue, words)

    def finish(self) -> Frame:
        """Freeze it."""
        return Frame(
            self.name,
            self.title,
            self.subtitle,
            self.is_loop,
            tuple(entry.finish() for entry in self.entries.values()),
            tuple(item.finish() for item in self.items.values()),
            tuple(exit.finish() for exit in self.exits.values()),
            tuple(self.wires.values()),
            tuple(self.backs),
            self.detail,
        )


def connect(
    source: tuple[DraftFrame, End], target: tuple[DraftFrame, End], port: Port, words: str
) -> None:
    """Draw a wire from an end in one frame to an end in another, through every border between."""
    (start, here), (goal, there) = source, target
    origin, net = here, f"{here.box}:{here.port}"
    out, down = start.chain(), goal.chain()
    shared = sum(one is other for one, other in zip(out, down, strict=False))
    for frame in reversed(out[shared:]):
        name = f"{frame.name}>{net}"
        passage = DraftBox(name, "", "passage", {"in": _named(port, "in")})
        passage = frame.exits.setdefault(name, passage)
        passage.outputs[name] = _named(port, name)
        frame.join(here, End(name, "in"), origin, port, words)
        here = End(frame.name, name)
    frame = out[shared - 1]
    for inner in down[shared:]:
        name = f"{inner.name}<{net}"
        passage = DraftBox(name, "", "passage", {name: _named(port, name)})
        passage = inner.entries.setdefault(name, passage)
        passage.outputs["out"] = _named(port, "out")
        frame.join(here, End(inner.name, name), origin, port, words)
        frame, here = inner, End(name, "out")
    frame.join(here, there, origin, port, words)


def written_in(frame: DraftFrame, reference: Reference) -> str:
    """Write what a reference names as one would inside a frame."""
    whole = ".".join((reference.name, *reference.fields))
    outer = [f"{around.name}/" for around in reversed(frame.chain()) if around.name]
    prefix = next((prefix for prefix in outer if whole.startswith(prefix)), "")
    return whole.removeprefix(prefix)


def _named(port: Port, key: str) -> Port:
    return Port(key, port.label, port.kind, port.hue, port.shape)
