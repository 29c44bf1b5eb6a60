"""What the values in a graph stand for, and how long they are needed."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any, cast

from graph import Block, Call, Graph, ListOf, Literal, Loop, Reference, Value, references, values_of

from .errors import RunError

UNKNOWN: Any = object()
"""Stands for a value that a check cannot know."""


def arguments_of(
    call: Call, values: Mapping[str, Any], machine: Mapping[str, Any]
) -> dict[str, Any]:
    """Give what a node is called with: what the graph gives, and what the machine supplies."""
    given = {name: value_of(value, values) for name, value in call.arguments.items()}
    return given | supplied(call, machine)


def supplied(call: Call, machine: Mapping[str, Any]) -> dict[str, Any]:
    """Give the ambient parameters that the graph leaves to the machine.

    What the machine has a function for is asked of it, for this call.
    """
    found: dict[str, Any] = {}
    for name, parameter in call.node.parameters.items():
        ambient = parameter.ambient
        if ambient is not None and ambient in machine and name not in call.arguments:
            value = machine[ambient]
            found[name] = value(call) if callable(value) else value
    return found


def value_of(value: Value, values: Mapping[str, Any]) -> Any:
    """Give what a literal, a reference or a list stands for; what is of UNKNOWN is UNKNOWN."""
    match value:
        case Literal():
            return value.value
        case Reference():
            return reduce(field_of, value.fields, values[value.name])
        case ListOf():
            return [value_of(item, values) for item in value.items]


def field_of(whole: Any, name: str) -> Any:
    """Take a field: of a loop's value, which is a dictionary, or of what a node gave."""
    if whole is UNKNOWN:
        return UNKNOWN
    return cast("dict[str, Any]", whole)[name] if isinstance(whole, dict) else getattr(whole, name)


def loaders_of(blocks: Iterable[Block]) -> Iterator[Call]:
    """Walk over the calls that load weights onto the run's device."""
    for block in blocks:
        if isinstance(block, Loop):
            yield from loaders_of(block.body)
            continue
        ambient = {it.ambient for it in block.node.parameters.values()}
        loads = block.node.reads is not None or "dtype" in ambient
        if loads and "device" in ambient and "device" not in block.arguments:
            yield block


def common_length(loop: Loop, sequences: Mapping[str, Sequence[Any]]) -> int:
    """Count the steps of a loop; raises RunError where its sequences differ in length."""
    lengths = {key: len(sequence) for key, sequence in sequences.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{key} has {length}" for key, length in lengths.items())
        raise RunError(loop.place, f"the sequences of '{loop.name}' differ in length: {found}")
    return next(iter(lengths.values()))


def names_in(values: Iterable[Value]) -> set[str]:
    """Collect the names that values refer to."""
    return {found.name for found in references(values)}


def last_uses(graph: Graph) -> list[set[str]]:
    """Say for each block which names no block after it needs."""
    return last_uses_of(graph.blocks, names_in(graph.outputs.values()))


def last_uses_of(blocks: Sequence[Block], kept: set[str]) -> list[set[str]]:
    """Say for each block which names, but for those to be kept, no block after it needs."""
    later, uses = set(kept), list[set[str]]()
    for block in reversed(blocks):
        names = names_in(values_of(block))
        names.add(block.name)
        uses.append(names - later)
        later |= names
    return uses[::-1]
