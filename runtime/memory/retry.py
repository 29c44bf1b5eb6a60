"""Where memory runs out during a run, the next measure is taken and the run goes on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from torch import nn

from graph import Block, Call, Graph, has_effect

from ..cache.remember import FORGOTTEN, recall
from ..errors import OutOfMemory, RunError
from ..events import MemorySpared
from ..quantities import quantity
from ..tensors import leaves_of
from .ladder import Spared
from .rungs import RUNGS, Saving

Made = Mapping[str, Any]
"""The values of blocks that are done, by name; None where it is let go."""
T = TypeVar("T")


def run_sparingly(
    run: Callable[[Spared, Made], T],
    spared: Spared,
    free: Callable[[], int | None],
    tell: Callable[[MemorySpared], None],
) -> T:
    """Run a plan, and where a node runs out of memory go on at its block by the next measure.

    `run` is given the plan and what is made of it already, but for models, since measures say where
    they are; `free` lets go of what is kept for others, and gives the bytes that there are; `tell`
    is told what is done. Raises RunError once no measure is left.
    """
    made: dict[str, Any] = {}
    while True:
        try:
            return run(spared, made)
        except OutOfMemory as error:
            call, message = error.call, error.message
            made |= {name: it for name, it in error.made.items() if not _holds_network(it)}
        # Only here, with the error, is gone what the frames of the failed call held.
        room = free()
        saving = _next_saving(spared.plan, call)
        if saving is None:
            lines = [message, *(f"  tried: {it}" for it in spared.told)]
            lines += [f"  memory: {quantity(room, 'B')} for weights and tensors"] if room else []
            raise RunError(call.place, "\n".join(lines))
        plan = RUNGS[saving.rung].apply(spared.plan, call.name)
        spared = spared.taking(saving, plan, "for memory ran out")
        tell(spared.told[-1])


def left_to_run(plan: Graph, made: Made) -> tuple[Graph, dict[str, Any]]:
    """Give the blocks that are left to run, and the values that are made for them.

    No effect is had twice.
    """
    if not made:
        return plan, {}
    done = {block.name for block in plan.blocks if has_effect(block) and block.name in made}
    blocks = tuple(block for block in plan.blocks if block.name not in done)
    left, found = recall(replace(plan, blocks=blocks), _Recalling(made))
    return left, found | {name: made[name] for name in done}


@dataclass(frozen=True)
class _Recalling:
    made: Made

    def recall(self, block: Block) -> Any:
        value = self.made.get(block.name)
        return FORGOTTEN if value is None else value

    def keep(self, block: Block, value: Any) -> None:
        """Keep nothing: what is made here is in the run that goes on."""


def _next_saving(plan: Graph, call: Call) -> Saving | None:
    names = (it for it, rung in RUNGS.items() if rung.apply(plan, call.name) is not plan)
    return next((Saving(rung, call.name) for rung in names), None)


def _holds_network(value: Any) -> bool:
    return any(isinstance(leaf, nn.Module) for leaf in leaves_of(value))
