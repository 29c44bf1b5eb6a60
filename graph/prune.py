"""What a graph does not need to run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from .blocks import Block, Call, Graph, Loop, Value, references, values_of


def prune(graph: Graph) -> Graph:
    """Keep the blocks that the outputs and the effects need."""
    return replace(graph, blocks=_needed(graph.blocks, graph.outputs.values()))


def _needed(blocks: Iterable[Block], roots: Iterable[Value]) -> tuple[Block, ...]:
    """Walk the blocks backwards, as what needs a block stands after it."""
    names = {reference.name for root in roots for reference in references(root)}
    kept: list[Block] = []
    for block in reversed(list(blocks)):
        if block.name not in names and not has_effect(block):
            continue
        if isinstance(block, Loop):
            block = replace(block, body=_needed(block.body, _leaving(block)))
        kept.append(block)
        for value in values_of(block):
            names.update(reference.name for reference in references(value))
    return tuple(reversed(kept))


def has_effect(block: Block) -> bool:
    """Tell whether a block, or one inside it, is run for its effect."""
    if isinstance(block, Call):
        return block.node.effect
    return any(has_effect(inner) for inner in block.body)


def _leaving(loop: Loop) -> list[Value]:
    """List what the body hands on: to the next step, to the collected lists, to the end."""
    until = [loop.until] if loop.until else []
    return [*(carry.then for carry in loop.carry.values()), *loop.collect.values(), *until]
