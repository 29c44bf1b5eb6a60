"""Puts one value in the place of another, wherever a block names it."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from graph import Block, Call, Carry, Graph, ListOf, Literal, Loop, Reference, Value

Change = Callable[[Reference], Value]


def changed(value: Value, change: Change) -> Value:
    """Change every reference in a value; what stays the same is the same object."""
    match value:
        case Literal():
            return value
        case Reference():
            return change(value)
        case ListOf():
            return replace(value, items=tuple(changed(item, change) for item in value.items))


def changed_call(call: Call, change: Change) -> Call:
    """Change every reference in a call; a call that stays the same is the same object."""
    arguments = {name: changed(value, change) for name, value in call.arguments.items()}
    when = call.when and changed(call.when, change)
    otherwise = call.otherwise and changed(call.otherwise, change)
    same = all(value is call.arguments[name] for name, value in arguments.items())
    if same and when is call.when and otherwise is call.otherwise:
        return call
    return replace(call, arguments=arguments, when=when, otherwise=otherwise)


def changed_loop(loop: Loop, body: tuple[Block, ...], change: Change) -> Loop:
    """Change every reference of a loop but for those in its body, and give it a body."""
    return replace(
        loop,
        sequences={key: changed(value, change) for key, value in loop.sequences.items()},
        carry={
            key: Carry(changed(carry.start, change), changed(carry.then, change))
            for key, carry in loop.carry.items()
        },
        body=body,
        collect={key: changed(value, change) for key, value in loop.collect.items()},
        until=loop.until and changed(loop.until, change),
    )


def changed_blocks(blocks: tuple[Block, ...], change: Change) -> tuple[Block, ...]:
    """Change every reference in blocks, also inside loops."""
    return tuple(
        changed_loop(block, changed_blocks(block.body, change), change)
        if isinstance(block, Loop)
        else changed_call(block, change)
        for block in blocks
    )


def with_blocks(graph: Graph, blocks: tuple[Block, ...], change: Change) -> Graph:
    """Give a graph other blocks, and change the references of its outputs."""
    outputs = {name: changed(value, change) for name, value in graph.outputs.items()}
    return replace(graph, blocks=blocks, outputs=outputs)


def substituting(values: Mapping[str, Value]) -> Change:
    """Put values in the place of names; a field of a name is that field of the other.

    A literal has no fields: a reference to one stays.
    """

    def change(reference: Reference) -> Value:
        value = values.get(reference.name)
        if value is None or (reference.fields and not isinstance(value, Reference)):
            return reference
        if not isinstance(value, Reference):
            return value
        fields = value.fields + reference.fields
        return replace(reference, name=value.name, fields=fields)

    return change
