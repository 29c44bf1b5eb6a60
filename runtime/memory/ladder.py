"""Climbs the rungs of `RUNGS` until a plan fits: by its estimate, before it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from graph import Graph

from ..events import MemorySpared
from ..quantities import quantity
from .rungs import RUNGS, Saving

Needs = Mapping[str, int]
"""The bytes that are held while each call of a plan is made, by its name."""


WORTH = 0.1
"""A measure is taken that brings at least this part of what is missing."""


class Spared(NamedTuple):
    """A plan after measures were taken, these, and what is to be told of them.

    `left` are the bytes that it leaves of those there are, None where it was not estimated.
    """

    plan: Graph
    savings: tuple[Saving, ...]
    told: tuple[MemorySpared, ...] = ()
    left: int | None = None

    def taking(self, saving: Saving, plan: Graph, why: str) -> Spared:
        """Note a measure that was taken, and the plan that it made."""
        told = MemorySpared(saving.call, RUNGS[saving.rung].words, why)
        return Spared(plan, (*self.savings, saving), (*self.told, told))


@dataclass
class DoesNotFit(Exception):
    """No measure is left: the call that needs most, its bytes, and what was done till then."""

    call: str
    need: int
    spared: Spared


def with_savings(plan: Graph, savings: Iterable[Saving]) -> Graph:
    """Take measures that are known; raises KeyError for one that there is not."""
    for saving in savings:
        plan = RUNGS[saving.rung].apply(plan, saving.call)
    return plan


def climb(plan: Graph, needs_of: Callable[[Graph], Needs], room: int) -> Spared:
    """Take the measures that a plan needs to hold no more than there is room for, and no other.

    The call that needs most is looked at first. The first measure that is worth it is taken, and
    all calls are estimated anew. Raises DoesNotFit.
    """
    spared, needs = Spared(plan, ()), needs_of(plan)
    while (need := max(needs.values(), default=0)) > room:
        call = max(needs, key=lambda name: needs[name])
        for rung in RUNGS:
            lower = RUNGS[rung].apply(spared.plan, call)
            if lower is spared.plan:
                continue
            found = needs_of(lower)
            if need - found[call] >= WORTH * (need - room):
                why = f"{quantity(need, 'B')} → {quantity(found[call], 'B')}"
                spared, needs = spared.taking(Saving(rung, call), lower, why), found
                break
        else:
            raise DoesNotFit(call, need, spared)
    return spared._replace(left=room - need)
