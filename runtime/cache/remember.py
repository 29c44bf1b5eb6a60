"""What runs remember of earlier runs: the seam for a cache."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from graph import Block, Graph, has_effect, values_of

from ..values import names_in

FORGOTTEN: Any = object()
"""Stands for a value that nobody remembers."""


class Remember(Protocol):
    """What one run is told by earlier ones, and tells later ones, of the blocks outside loops.

    A loop is one block. A block that is recalled is not run, nor what only it needs.
    """

    def recall(self, block: Block) -> Any:
        """Give the value of a block, or FORGOTTEN."""
        ...

    def keep(self, block: Block, value: Any) -> None:
        """Take notice of the value that a block was run for."""
        ...


Remembering = Callable[[Graph, Mapping[str, Any], Mapping[str, Any]], Remember]
"""Begins to remember for a run of a plan with these inputs on this machine."""


def recall(plan: Graph, remember: Remember) -> tuple[Graph, dict[str, Any]]:
    """Give the blocks that are left to run, and the values of those that are remembered.

    Blocks are asked for from the last to the first, and only where what runs needs them.
    """
    needed = names_in(plan.outputs.values())
    left: list[Block] = []
    found: dict[str, Any] = {}
    for block in reversed(plan.blocks):
        effect = has_effect(block)
        if block.name not in needed and not effect:
            continue
        value = FORGOTTEN if effect else remember.recall(block)
        if value is FORGOTTEN:
            left.append(block)
            needed |= names_in(values_of(block))
        else:
            found[block.name] = value
    return replace(plan, blocks=tuple(reversed(left))), found
