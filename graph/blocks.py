"""A checked graph as plain data: what the runtime walks and the drawings show.

Every name in a checked graph is unique: what a subgraph or a loop holds is named after it, as in
`text/tokens`, `denoise/cond`, `denoise/state`. Subgraphs themselves are gone: their blocks stand
where they were used.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import Place
from .node import NodeType


@dataclass(frozen=True)
class Literal:
    """A value that the file gives, validated for where it goes."""

    value: Any
    place: Place | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Reference:
    """What an input, a block or a variable of an enclosing loop holds, then field by field."""

    name: str
    fields: tuple[str, ...] = ()
    place: Place | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class ListOf:
    """A list of which at least one item is a reference."""

    items: tuple[Value, ...]
    place: Place | None = field(default=None, compare=False, repr=False)


Value = Literal | Reference | ListOf


@dataclass(frozen=True)
class Call:
    """One use of a node type.

    Where `when` does not hold, the value is `otherwise`, or None if that is absent. `arguments`
    holds what the graph gives: neither defaults nor what the machine supplies.
    """

    name: str
    node: NodeType
    arguments: dict[str, Value]
    when: Value | None
    otherwise: Value | None
    place: Place
    result: Any


@dataclass(frozen=True)
class Carry:
    """A value handed from one step of a loop to the next."""

    start: Value
    then: Value


@dataclass(frozen=True)
class Loop:
    """Walks its sequences together and runs its body at every step.

    Inside the body the variable `step` of the loop `denoise` is `Reference("denoise/step")`, and so
    with a carry: see `variable`. The loop's value has a field for every carry, as it was last, and
    for every collected list: `Reference("denoise", ("state",))`. `result` annotates these fields.
    """

    name: str
    sequences: dict[str, Value]
    carry: dict[str, Carry]
    body: tuple[Block, ...]
    collect: dict[str, Value]
    until: Value | None
    place: Place
    result: dict[str, Any]

    def variable(self, key: str) -> str:
        """Name what references inside the body call the sequence item or the carry `key`."""
        return f"{self.name}/{key}"


Block = Call | Loop


@dataclass(frozen=True)
class Input:
    """What a run may set; its annotation is that of the parameters it flows into."""

    name: str
    annotation: Any
    required: bool
    default: Any
    help: str
    place: Place


@dataclass(frozen=True)
class GraphText:
    """A graph file: a name that no other of its graph has, its text, and what it uses.

    `uses` has the names of other files by what this one calls them.
    """

    name: str
    text: str
    uses: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Graph:
    """A graph that was found right, its blocks in an order in which they can run.

    `files` has the text of its own file, then those of its subgraphs.
    """

    name: str
    path: Path | None
    doc: str
    inputs: dict[str, Input]
    blocks: tuple[Block, ...]
    outputs: dict[str, Value]
    files: tuple[GraphText, ...]

    @property
    def source(self) -> str:
        """The text of its own file."""
        return self.files[0].text


def values_of(block: Block) -> list[Value]:
    """List every value that a block names, also inside a loop's body."""
    if isinstance(block, Call):
        values = [*block.arguments.values()]
        if block.when:
            values.append(block.when)
        if block.otherwise:
            values.append(block.otherwise)
        return values
    values = [*block.sequences.values()]
    for carry in block.carry.values():
        values += carry.start, carry.then
    for inner in block.body:
        values += values_of(inner)
    values += block.collect.values()
    return [*values, block.until] if block.until else values


def references(values: Iterable[Value]) -> list[Reference]:
    """List the references in values."""
    found: list[Reference] = []
    for value in values:
        if isinstance(value, Reference):
            found.append(value)
        elif isinstance(value, ListOf):
            found += references(value.items)
    return found
