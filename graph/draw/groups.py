"""Which blocks stand together in a frame because they came from one subgraph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..blocks import Block, references, values_of


def group_names(blocks: Sequence[Block], prefix: str) -> dict[str, str]:
    """Name the frame of every block that gets one: the first part of its name after a prefix.

    A subgraph of one block needs no frame. One that hands a value out and takes what was made of it
    back in gets none either, for its frame would stand both above and below what it needs.
    """
    parts = {block.name: block.name.removeprefix(prefix).split("/") for block in blocks}
    members: dict[str, list[str]] = {}
    for block in blocks:
        if len(parts[block.name]) > 1:
            members.setdefault(prefix + parts[block.name][0], []).append(block.name)
    groups: dict[str, str] = {}
    for name, inside in members.items():
        if len(inside) > 1:
            trial = groups | dict.fromkeys(inside, name)
            groups = trial if _stay_in_order(blocks, trial) else groups
    return groups


def _stay_in_order(blocks: Sequence[Block], groups: Mapping[str, str]) -> bool:
    """Tell whether blocks can still be put one after the other once groups are one thing each."""
    # Imported here because that is slow, and only a drawing needs it.
    import networkx as nx

    names = {block.name for block in blocks}
    graph: nx.DiGraph[str] = nx.DiGraph()
    for block in blocks:
        here = groups.get(block.name, block.name)
        for reference in references(values_of(block)):
            there = groups.get(reference.name, reference.name)
            if reference.name in names and there != here:
                graph.add_edge(there, here)
    return nx.is_directed_acyclic_graph(graph)
