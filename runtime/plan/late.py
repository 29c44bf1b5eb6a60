"""What takes memory is made when it is needed."""

from collections.abc import Sequence
from dataclasses import replace

from graph import Block, Graph, has_effect, values_of

from ..values import names_in


def run_late(graph: Graph) -> Graph:
    """Put every block right before the first that needs it.

    Of what one block needs, that comes first which leaves least behind, and last what needs nothing
    itself. So a text encoder has done its work, and is gone, before the UNet is loaded. Effects
    stay in their order.
    """
    position = {block.name: number for number, block in enumerate(graph.blocks)}
    needs = [
        sorted([position[name] for name in names_in(values_of(block)) if name in position])
        for block in graph.blocks
    ]
    roots = [number for number, block in enumerate(graph.blocks) if has_effect(block)]
    roots += sorted(position[name] for name in names_in(graph.outputs.values()) & position.keys())
    users: list[list[int]] = [[] for _ in needs]
    for user, needed in enumerate(needs):
        for number in needed:
            users[number].append(user)
    order: dict[int, Block] = {}
    # No recursion, which a long graph would exhaust: a block's number comes back, as ~number, once
    # its needs are met.
    ahead = roots[::-1]
    while ahead:
        number = ahead.pop()
        if number < 0:
            order.setdefault(~number, graph.blocks[~number])
        elif number not in order:
            needed = needs[number]
            if len(needed) > 1:
                needed = sorted(needed, key=lambda other: _left_behind(other, needs, users))
            ahead += [~number, *reversed(needed)]
    return replace(graph, blocks=tuple(order.values()))


def _left_behind(
    number: int, needs: Sequence[Sequence[int]], users: Sequence[Sequence[int]]
) -> tuple[bool, int]:
    """Count what a block has others make that is not for it alone; first comes whether nothing."""
    made, ahead = {number}, [number]
    while ahead:
        new = set(needs[ahead.pop()]) - made
        made |= new
        ahead += new
    others = made - {number}
    return not others, sum(not made.issuperset(users[other]) for other in others)
