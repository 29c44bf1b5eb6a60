"""Calls of a network that differ in what each picture is told are one call on a larger batch."""

from collections.abc import Hashable, Iterable
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
    Parameter,
    Reference,
    Value,
    in_order,
    kinds_of,
    node_type_of,
    values_of,
)

from ..batch import call_together, given, stack
from ..values import names_in
from .rename import changed_blocks, substituting, with_blocks

STACK, GIVEN = node_type_of(stack), node_type_of(given)
WHEN = Parameter("when", list[bool], required=False, default=None, ambient=None, help="")


def merge_twins(graph: Graph) -> Graph:
    """Merge calls of a `batched` node that share all but what belongs to single pictures.

    None may need another's value. What differs is stacked by a call of its own, which can be done
    in front of a loop. Sums are taken in another order then, so values change in the last bits.
    Those that have a flag run with the others at the steps where it holds.
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
        new, values = _merge(twins)
        merged |= values
        at = done.index(twins[-1])
        left = [block for block in (*done[:at], *new, *done[at:]) if block not in twins]
        done = tuple(in_order(changed_blocks(tuple(left), change), []))
    return done


def _find_twins(blocks: tuple[Block, ...]) -> list[Call]:
    """Find all calls that can be one with the first of which there are several."""
    candidates = {block.name for block in blocks if isinstance(block, Call) and block.node.batched}
    if len(candidates) < 2:
        return []
    groups: dict[Hashable, list[Call]] = {}
    needs: dict[str, set[str]] = {}

    def needed(values: Iterable[Value]) -> set[str]:
        """Name the candidates that values need, also through other blocks."""
        names = names_in(values)
        return (names & candidates).union(*(needs.get(name, ()) for name in names))

    for block in blocks:
        needs[block.name] = needed(values_of(block))
        if isinstance(block, Call) and block.name in candidates:
            group = groups.setdefault(_shared(block), [])
            # What stands for a call that does not run may be another twin.
            if not needed(values_of(replace(block, otherwise=None))) & {it.name for it in group}:
                group.append(block)
    several = [group for group in groups.values() if len(group) > 1]
    return several[0] if several else []


def _shared(call: Call) -> Hashable:
    """Give what twins have in common."""
    pictures = _per_picture(call.node)
    same = {name: value for name, value in call.arguments.items() if name not in pictures}
    return call.node.name, repr((sorted(call.arguments), sorted(same.items(), key=str)))


def _per_picture(node: NodeType) -> set[str]:
    """Name the ports whose kind has pictures along its first axis."""
    return {
        name
        for name, parameter in node.parameters.items()
        if any(kind.axes.startswith("B") for kind in kinds_of(parameter.annotation))
    }


def _merge(twins: list[Call]) -> tuple[list[Call], dict[str, Value]]:
    """Make the one call, those that stack what differs in front of it, and what stands for each.

    A twin that has a flag keeps its name, for a call that takes its value where the flag holds.
    """
    first, *others = twins
    name = "+".join([first.name, *(other.name.rpartition("/")[2] for other in others)])
    differing = {
        port: ListOf(tuple(call.arguments[port] for call in twins))
        for port, value in first.arguments.items()
        if any(call.arguments[port] != value for call in others)
    }
    stacked = [
        Call(f"{name}/{port}", STACK, {"values": values}, None, None, first.place, Any)
        for port, values in differing.items()
    ]
    arguments: dict[str, Value] = first.arguments | {
        port: Reference(call.name) for port, call in zip(differing, stacked, strict=True)
    }
    when = first.when
    if any(call.when != when for call in others):
        when = None
        arguments["when"] = ListOf(tuple(call.when or Literal(True) for call in twins))
    names = tuple(call.name for call in twins)
    function = partial(call_together, first.node.function, names, frozenset(differing))
    parameters = {**first.node.parameters, "when": WHEN}
    for port in differing:  # what does not go together is no tensor
        parameters[port] = replace(parameters[port], annotation=Any)
    node = replace(
        first.node, function=function, parameters=parameters, batched=False, result=dict[str, Any]
    )
    one = Call(name, node, arguments, when, None, first.place, node.result)
    values: dict[str, Value] = {call.name: Reference(name, (call.name,)) for call in twins}
    taken = [
        replace(call, node=GIVEN, arguments={"value": values.pop(call.name)})
        for call in twins
        if call.when
    ]
    return [*stacked, one, *taken], values
