"""Passes over a checked graph, each from graph to graph, before anything runs."""

from collections.abc import Mapping
from dataclasses import replace

from graph import Block, Call, Carry, Graph, ListOf, Literal, Loop, Reference, Value


def share_equal_calls(graph: Graph) -> Graph:
    """Let calls of the same node with the same arguments be one: two prompts load one encoder."""
    names: dict[str, str] = {}
    blocks = _share(graph.blocks, names)
    outputs = {name: _renamed(value, names) for name, value in graph.outputs.items()}
    return replace(graph, blocks=blocks, outputs=outputs)


def _share(blocks: tuple[Block, ...], names: dict[str, str]) -> tuple[Block, ...]:
    kept: list[Block] = []
    seen: dict[str, list[Call]] = {}
    for block in blocks:
        if isinstance(block, Loop):
            kept.append(_share_in_loop(block, names))
            continue
        call = replace(
            block,
            arguments={name: _renamed(value, names) for name, value in block.arguments.items()},
            when=block.when and _renamed(block.when, names),
            otherwise=block.otherwise and _renamed(block.otherwise, names),
        )
        twins = seen.setdefault(call.node.name, [])
        twin = next((twin for twin in twins if _equal(twin, call)), None)
        if twin is None or call.node.effect:
            twins.append(call)
            kept.append(call)
        else:
            names[call.name] = twin.name
    return tuple(kept)


def _share_in_loop(loop: Loop, names: dict[str, str]) -> Loop:
    body = _share(loop.body, names)
    carry = {
        key: Carry(_renamed(carry.start, names), _renamed(carry.then, names))
        for key, carry in loop.carry.items()
    }
    return replace(
        loop,
        body=body,
        carry=carry,
        sequences={key: _renamed(value, names) for key, value in loop.sequences.items()},
        collect={key: _renamed(value, names) for key, value in loop.collect.items()},
        until=loop.until and _renamed(loop.until, names),
    )


def _equal(one: Call, other: Call) -> bool:
    parts = [(call.arguments, call.when, call.otherwise) for call in (one, other)]
    # 1 == 1.0 == True in Python; a node may tell them apart.
    return parts[0] == parts[1] and repr(parts[0]) == repr(parts[1])


def _renamed(value: Value, names: Mapping[str, str]) -> Value:
    match value:
        case Literal():
            return value
        case Reference():
            return replace(value, name=names.get(value.name, value.name))
        case ListOf():
            return replace(value, items=tuple(_renamed(item, names) for item in value.items))
