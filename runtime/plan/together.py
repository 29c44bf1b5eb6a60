"""Several runs of one graph as one graph, so that what they share is done once."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from graph import Block, Graph, Loop, Reference, prune

from .known import fill_in
from .loops import merge_loops
from .rename import changed_blocks, with_blocks
from .share import share_equal_calls


def put_together(graph: Graph, runs: Sequence[Mapping[str, Any]]) -> tuple[Graph, dict[str, Any]]:
    """Give a graph that does several runs, each with its inputs, and what its own inputs hold.

    All that belongs to run 2 is called as before, after `2/`. Loops go in step where they walk the
    same schedule, so that what is `batched` in them can become one call.
    """
    copies = [_called(fill_in(graph, known), f"{number}/") for number, known in enumerate(runs)]
    whole = replace(
        graph,
        blocks=tuple(block for copy in copies for block in copy.blocks),
        outputs={name: value for copy in copies for name, value in copy.outputs.items()},
    )
    known = {
        f"{number}/{name}": value for number, run in enumerate(runs) for name, value in run.items()
    }
    return merge_loops(share_equal_calls(prune(whole))), known


def _called(graph: Graph, prefix: str) -> Graph:
    """Begin every name with a prefix."""

    def change(found: Reference) -> Reference:
        return replace(found, name=prefix + found.name)

    graph = with_blocks(graph, changed_blocks(_blocks(graph.blocks, prefix), change), change)
    outputs = {prefix + name: value for name, value in graph.outputs.items()}
    return replace(graph, outputs=outputs)


def _blocks(blocks: tuple[Block, ...], prefix: str) -> tuple[Block, ...]:
    return tuple(
        replace(block, name=prefix + block.name, body=_blocks(block.body, prefix))
        if isinstance(block, Loop)
        else replace(block, name=prefix + block.name)
        for block in blocks
    )
