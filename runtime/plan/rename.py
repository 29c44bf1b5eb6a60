"""Puts one value in the place of another, wherever a block names it."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from graph import Block, Call, Carry, ListOf, Literal, Loop, Reference, Value

Change = Callable[[Reference], Value]


def changed(value: Value, change: Change) -> Value:
    """Change every reference in a value."""
    match value:
        case Literal():
            return value
        case Reference():
            return change(value)
        case ListOf():
            return replace(value, items=tuple(changed(item, change) for item in value.items))


def changed_call(call: Call, change: Change) -> Call:
    """Change every reference in a call."""
    return replace(
        call,
        arguments={name: changed(value, change) for name, value in call.arguments.items()},
        when=call.when and changed(call.when, change),
        otherwise=call.otherwise and changed(call.otherwise, change),
    )


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


def renaming(names: Mapping[str, str]) -> Change:
    """Let references to some names be to others."""
    return lambda reference: replace(reference, name=names.get(reference.name, reference.name))
