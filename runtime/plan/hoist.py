"""What a loop does not change is done once, in front of it."""

from collections.abc import Iterator
from dataclasses import replace

from graph import Block, Graph, Loop, has_effect, values_of

from ..values import names_in
from .share import share_equal_calls


def hoist(graph: Graph) -> Graph:
    """Move blocks that need nothing of their loop in front of it, out of all loops that allow it.

    They then run even where the loop has no steps. Effects stay where they are. What comes to stand
    beside an equal call, of another loop for example, is one with it.
    """
    return share_equal_calls(replace(graph, blocks=tuple(_hoisted(graph.blocks))))


def _hoisted(blocks: tuple[Block, ...]) -> Iterator[Block]:
    for block in blocks:
        if isinstance(block, Loop):
            changing = {block.variable(key) for key in (*block.sequences, *block.carry)}
            staying: list[Block] = []
            for inner in _hoisted(block.body):
                if has_effect(inner) or names_in(values_of(inner)) & changing:
                    changing.add(inner.name)
                    staying.append(inner)
                else:
                    yield inner
            block = replace(block, body=tuple(staying))
        yield block
