"""What a graph does not need to run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from .blocks import Block, Call, Graph, Loop, Value, references, values_of


def prune(graph: Graph) -> Graph:
    """Keep what the outputs and the effects need: blocks, and of loops the collected lists."""
    return replace(graph, blocks=_needed(graph.blocks, graph.outputs.values()))


def _needed(blocks: Iterable[Block], roots: Iterable[Value]) -> tuple[Block, ...]:
    """Walk the blocks backwards, as what needs a block stands after it."""
    asked: defaultdict[str, set[str]] = defaultdict(set)  # by block, the fields; "" = the whole

    def ask(values: Iterable[Value]) -> None:
        for reference in references(values):
            asked[reference.name].add(reference.fields[0] if reference.fields else "")

    ask(roots)
    kept: list[Block] = []
    for block in reversed(list(blocks)):
        if block.name not in asked and not has_effect(block):
            continue
        if isinstance(block, Loop):
            block = _asked(block, asked.get(block.name, set()))
        kept.append(block)
        ask(values_of(block))
    return tuple(reversed(kept))


def _asked(loop: Loop, fields: set[str]) -> Loop:
    """Leave out of a loop the lists that nobody asks for, and what only they need."""
    if "" not in fields:
        collect = {key: value for key, value in loop.collect.items() if key in fields}
        loop = replace(loop, collect=collect)
    return replace(loop, body=_needed(loop.body, _leaving(loop)))


def has_effect(block: Block) -> bool:
    """Tell whether a block, or one inside it, is run for its effect."""
    if isinstance(block, Call):
        return block.node.effect
    return any(has_effect(inner) for inner in block.body)


def _leaving(loop: Loop) -> list[Value]:
    """List what the body hands on: to the next step, to the collected lists, to the end."""
    until = [loop.until] if loop.until else []
    return [*(carry.then for carry in loop.carry.values()), *loop.collect.values(), *until]
