"""What takes memory is made when it is needed."""

from dataclasses import replace

from graph import Block, Graph, has_effect, values_of

from ..values import names_in


def run_late(graph: Graph) -> Graph:
    """Put every block right before the first that needs it, those that need nothing last.

    So a text encoder has done its work, and is gone, before the UNet is loaded. Effects stay in
    their order.
    """
    position = {block.name: number for number, block in enumerate(graph.blocks)}
    needs = [
        sorted(position[name] for name in names_in(values_of(block)) & position.keys())
        for block in graph.blocks
    ]
    roots = [number for number, block in enumerate(graph.blocks) if has_effect(block)]
    roots += sorted(position[name] for name in names_in(graph.outputs.values()) & position.keys())
    order: dict[int, Block] = {}
    # No recursion, which a long graph would exhaust: a block comes back once its needs are met.
    ahead = [(number, False) for number in reversed(roots)]
    while ahead:
        number, ready = ahead.pop()
        if number in order:
            continue
        if ready:
            order[number] = graph.blocks[number]
        else:
            needed = sorted(needs[number], key=lambda other: not needs[other])
            ahead += [(number, True), *((other, False) for other in reversed(needed))]
    return replace(graph, blocks=tuple(order.values()))
