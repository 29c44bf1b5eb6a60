"""Calls of a network that differ in what each picture is told are one call on a larger batch."""

from collections.abc import Hashable
from dataclasses import replace
from functools import partial
from typing import Any

from graph import (
    Block,
    Call,
    Graph,
    ListOf,
    Literal,
    Loop,
    NodeType,
    Reference,
    Value,
    in_order,
    kinds_of,
    node_type_of,
    values_of,
)

from ..batch import call_together, stack
from ..values import names_in
from .rename import changed_blocks, substituting, with_blocks

STACK = node_type_of(stack)


def merge_twins(graph: Graph) -> Graph:
    """Merge calls of a `batched` node that share all but what belongs to single pictures.

    None may need another's value. What differs is stacked by a call of its own, which can be done
    in front of a loop. Sums are taken in another order then, so values change in the last bits.
    """
    merged: dict[str, Value] = {}
    blocks = _merged(graph.blocks, merged)
    return with_blocks(graph, blocks, substituting(merged))


def _merged(blocks: tuple[Block, ...], merged: dict[str, Value]) -> tuple[Block, ...]:
    done = tuple(
        replace(block, body=_merged(block.body, merged)) if isinstance(block, Loop) else block
        for block in blocks
    )
    change = substituting(merged)
    done = changed_blocks(done, change) if merged else done
    while twins := _find_twins(done):
        new = _merge(twins)
        merged |= {call.name: Reference(new[-1].name, (call.name,)) for call in twins}
        at = done.index(twins[-1])
        left = [block for block in (*done[:at], *new, *done[at:]) if block not in twins]
        done = tuple(in_order(changed_blocks(tuple(left), change), []))
    return done


def _find_twins(blocks: tuple[Block, ...]) -> list[Call]:
    """Find all calls that can be one with the first of which there are several."""
    candidates = {
        block.name
        for block in blocks
        if isinstance(block, Call) and block.node.batched and _can_be_absent(block)
    }
    if len(candidates) < 2:
        return []
    groups: dict[Hashable, list[Call]] = {}
    needs: dict[str, set[str]] = {}  # of the candidates, also through other blocks
    for block in blocks:
        own = names_in(values_of(block))
        needs[block.name] = (own & candidates).union(*(needs.get(name, ()) for name in own))
        if isinstance(block, Call) and block.name in candidates:
            group = groups.setdefault(_shared(block), [])
            if not needs[block.name] & {other.name for other in group}:
                group.append(block)
    several = [group for group in groups.values() if len(group) > 1]
    return several[0] if several else []


def _can_be_absent(call: Call) -> bool:
    """Tell whether what stands for a call that does not run is known: then it is, for all twins."""
    return call.otherwise is None or isinstance(call.otherwise, Literal)


def _shared(call: Call) -> Hashable:
    """Give what twins have in common."""
    pictures = _per_picture(call.node)
    same = {name: value for name, value in call.arguments.items() if name not in pictures}
    names = sorted(call.arguments)
    return call.node.name, repr((call.when, call.otherwise, names, sorted(same.items(), key=str)))


def _per_picture(node: NodeType) -> set[str]:
    """Name the ports whose kind has pictures along its first axis."""
    return {
        name
        for name, parameter in node.parameters.items()
        if any(kind.axes.startswith("B") for kind in kinds_of(parameter.annotation))
    }


def _merge(twins: list[Call]) -> list[Call]:
    """Make the one call, and in front of it the calls that stack what differs."""
    first, *others = twins
    name = "+".join([first.name, *(other.name.rpartition("/")[2] for other in others)])
    absent = None
    if first.when is not None:
        value = first.otherwise.value if isinstance(first.otherwise, Literal) else None
        absent = Literal({call.name: value for call in twins})
    differing = {
        port: ListOf(tuple(call.arguments[port] for call in twins))
        for port, value in first.arguments.items()
        if any(call.arguments[port] != value for call in others)
    }
    stacked = [
        Call(f"{name}/{port}", STACK, {"values": values}, None, None, first.place, Any)
        for port, values in differing.items()
    ]
    arguments = first.arguments | {
        port: Reference(call.name) for port, call in zip(differing, stacked, strict=True)
    }
    names = tuple(call.name for call in twins)
    function = partial(call_together, first.node.function, names, frozenset(differing))
    node = replace(first.node, function=function, batched=False, result=dict[str, Any])
    return [*stacked, Call(name, node, arguments, first.when, absent, first.place, node.result)]
