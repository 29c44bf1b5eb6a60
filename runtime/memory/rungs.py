"""What can be done to hold less, in the order in which it is tried; each is a pass over a plan."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from graph import Block, Call, Graph, Literal, Loop, NodeType, Sparing

Pass = Callable[[Graph, str], Graph]
"""Lets the call of a name hold less; gives the very same plan where it cannot."""


class Rung(NamedTuple):
    """A measure: what it does, in words, and the pass that does it."""

    words: str
    apply: Pass


class Saving(NamedTuple):
    """A measure that was taken, by its name, for a call of a plan."""

    rung: str
    call: str


def in_tiles(plan: Graph, name: str, size: int) -> Graph:
    """Let a call that can work in tiles do so, in those of one of the sizes it offers."""

    def change(call: Call) -> Call:
        smaller = {
            port: Literal(values[size])
            for port, values in _sparing(call.node).items()
            if size < len(values) and _is_larger(call, port, values[size])
        }
        return replace(call, arguments=call.arguments | smaller) if smaller else call

    return _with_call(plan, name, change)


def _sparing(node: NodeType) -> dict[str, tuple[int, ...]]:
    """Give what a node's ports offer that spare memory."""
    return {
        name: extra.values
        for name, parameter in node.parameters.items()
        for extra in getattr(parameter.annotation, "__metadata__", ())
        if isinstance(extra, Sparing)
    }


def _is_larger(call: Call, port: str, value: int) -> bool:
    given = call.arguments.get(port, Literal(call.node.parameters[port].default))
    return isinstance(given, Literal) and (given.value is None or given.value > value)


RUNGS: Mapping[str, Rung] = {
    "tiles": Rung("in tiles", partial(in_tiles, size=0)),
    "small tiles": Rung("in small tiles", partial(in_tiles, size=1)),
}


def _with_call(plan: Graph, name: str, change: Callable[[Call], Call]) -> Graph:
    blocks = _changed(plan.blocks, name, change)
    return plan if blocks is plan.blocks else replace(plan, blocks=blocks)


def _changed(
    blocks: tuple[Block, ...], name: str, change: Callable[[Call], Call]
) -> tuple[Block, ...]:
    """Change the call of a name; blocks that stay as they are are the same object."""
    done: list[Block] = []
    for block in blocks:
        if isinstance(block, Loop):
            body = _changed(block.body, name, change)
            done.append(block if body is block.body else replace(block, body=body))
        else:
            done.append(change(block) if block.name == name else block)
    same = all(new is old for new, old in zip(done, blocks, strict=True))
    return blocks if same else tuple(done)
