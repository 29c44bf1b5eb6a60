"""Which block runs before which."""

from __future__ import annotations

from collections.abc import Sequence

from .blocks import Block, references, values_of
from .errors import Finding


def in_order(blocks: Sequence[Block], findings: list[Finding]) -> list[Block]:
    """Put each block after what it needs, and else as they were written; report cycles."""
    # Imported here because that is slow, and whoever only registers nodes has no need of it.
    import networkx as nx

    position = {block.name: index for index, block in enumerate(blocks)}
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(position)
    for block in blocks:
        needed = [reference.name for reference in references(values_of(block))]
        graph.add_edges_from((name, block.name) for name in needed if name in position)
    if nx.is_directed_acyclic_graph(graph):
        order = nx.lexicographical_topological_sort(graph, key=position.__getitem__)
        return [blocks[position[name]] for name in order]
    for component in nx.strongly_connected_components(graph):
        first = min(component, key=position.__getitem__)
        if len(component) == 1 and not graph.has_edge(first, first):
            continue
        cyclic = graph.subgraph(component)
        back = [nx.bidirectional_shortest_path(cyclic, after, first) for after in cyclic[first]]
        names = " -> ".join([first, *min(back, key=lambda path: (len(path), path))])
        help = "only a loop ('for' and 'carry') hands a value back"
        findings.append(Finding(blocks[position[first]].place, f"a cycle: {names}", help))
    return list(blocks)
