"""What a picture of a graph shows, as plain data: boxes and frames, their ports, the wires between.

A frame knows only its own inside. What crosses its border goes through an entry at its top or an
exit at its bottom, so a wire always joins two boxes of one frame, and a frame is laid out alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Role = Literal["call", "variable", "passage"]
"""A call; what a loop or a graph takes in and hands on; a wire that crosses a border."""


@dataclass(frozen=True)
class Port:
    """Where a wire ends: `kind` says in words what flows there, `hue` names its colour.

    `origin` is what an input is wired to, as its file would write it.
    """

    key: str
    label: str
    kind: str
    hue: str
    shape: str = ""
    origin: str = ""


@dataclass(frozen=True)
class Setting:
    """A parameter that is given no wire: a literal, or an input of the graph by its name."""

    port: str
    value: str
    is_input: bool

    @property
    def words(self) -> str:
        """What is written on the chip."""
        if self.is_input and self.port == self.value:
            return self.value
        return f"{self.port} = {self.source}" if self.port else self.source

    @property
    def source(self) -> str:
        """What flows in, as its file would write it."""
        return f"${self.value}" if self.is_input else self.value


@dataclass(frozen=True)
class Detail:
    """What is told of a box or a frame that is pointed at."""

    heading: str
    doc: str = ""
    rows: tuple[tuple[str, str], ...] = ()
    place: str = ""
    excerpt: str = ""


@dataclass(frozen=True)
class Box:
    """One thing that stands in a frame, with its ports: inputs above, outputs below."""

    name: str
    title: str
    role: Role
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    node: str = ""
    settings: tuple[Setting, ...] = ()
    note: str = ""
    conditional: bool = False
    detail: Detail | None = None


class End(NamedTuple):
    """One end of a wire."""

    box: str
    port: str


@dataclass(frozen=True)
class Wire:
    """What flows from an output to an input in a frame; `origin` is where it first came from."""

    source: End
    target: End
    origin: End
    hue: str
    words: str


@dataclass(frozen=True)
class Back:
    """What a loop hands from one step to the next: from an exit to an entry."""

    source: str
    target: str
    hue: str
    words: str


@dataclass(frozen=True)
class Frame:
    """A loop, a subgraph, or the whole graph, with what stands in it."""

    name: str
    title: str
    subtitle: str
    is_loop: bool
    entries: tuple[Box, ...]
    items: tuple[Box | Frame, ...]
    exits: tuple[Box, ...]
    wires: tuple[Wire, ...]
    backs: tuple[Back, ...] = ()
    detail: Detail | None = None

    @property
    def inputs(self) -> tuple[Port, ...]:
        """The ports on its upper border."""
        return tuple(port for entry in self.entries for port in entry.inputs)

    @property
    def outputs(self) -> tuple[Port, ...]:
        """The ports on its lower border."""
        return tuple(port for exit in self.exits for port in exit.outputs)


@dataclass(frozen=True)
class Scene:
    """A whole picture: the frame of the graph, and what stands above it."""

    title: str
    doc: str
    inputs: tuple[tuple[str, str], ...]
    facts: str
    root: Frame


@dataclass(frozen=True)
class Facts:
    """What is known of a graph beside its text, by the names of blocks: from a check of its shapes.

    `shapes` names a block, or a field of it as in `noise.initial`. `hues` gives the colour of a
    kind. `twins` are calls that are made once with an equal one. `values` are those of the inputs.
    """

    shapes: Mapping[str, str] = field(default_factory=dict[str, str])
    costs: Mapping[str, str] = field(default_factory=dict[str, str])
    steps: Mapping[str, int] = field(default_factory=dict[str, int])
    twins: Mapping[str, str] = field(default_factory=dict[str, str])
    values: Mapping[str, object] = field(default_factory=dict[str, object])
    hues: Mapping[str, str] = field(default_factory=dict[str, str])
    total: str = ""


def frames_of(frame: Frame) -> Iterator[Frame]:
    """Walk over a frame and those in it, the outer ones first."""
    yield frame
    for item in frame.items:
        if isinstance(item, Frame):
            yield from frames_of(item)


def boxes_of(frame: Frame) -> Iterator[Box]:
    """Walk over every box of a frame and of those in it."""
    for inner in frames_of(frame):
        yield from inner.entries
        yield from (item for item in inner.items if isinstance(item, Box))
        yield from inner.exits
