"""The sideways runs of wires between two rows: which lies above which, and on what track."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CLEAR = 8
"""How far wires of different nets are kept from each other."""
OVERLAP = 1_000
"""How many crossings it is worth to keep one wire from lying on another."""


@dataclass(frozen=True)
class Run:
    """A net between two rows: where it comes from above, and where it goes below."""

    net: int
    tops: tuple[float, ...]
    bottoms: tuple[float, ...]

    @property
    def left(self) -> float:
        """Its leftmost place."""
        return min(self.tops + self.bottoms)

    @property
    def right(self) -> float:
        """Its rightmost place."""
        return max(self.tops + self.bottoms)

    @property
    def straight(self) -> bool:
        """Whether it needs no track."""
        return self.right - self.left < 0.5


def tracks(runs: Sequence[Run]) -> tuple[dict[int, int], int]:
    """Give each net that is not straight a track, counted downwards, and say how many there are."""
    bent = sorted((run for run in runs if not run.straight), key=lambda run: (run.left, run.net))
    order = _order(bent)
    track: dict[int, int] = {}
    for place, run in enumerate(order):
        above = [
            track[other.net] + 1
            for other in order[:place]
            if _overlap(run, other) or _cost(run, other) > _cost(other, run)
        ]
        track[run.net] = max(above, default=0)
    return track, max(track.values(), default=-1) + 1


def _overlap(one: Run, other: Run) -> bool:
    return one.left < other.right + CLEAR and other.left < one.right + CLEAR


def _cost(upper: Run, lower: Run) -> int:
    """Count the crossings if one run lies above another, and what would lie on each other."""
    # The upper one's ways down cross the lower one's run, the lower one's ways up the upper one's.
    crossings = sum(lower.left < x < lower.right for x in upper.bottoms)
    crossings += sum(upper.left < x < upper.right for x in lower.tops)
    on_top = sum(abs(x - y) < CLEAR / 2 for x in upper.bottoms for y in lower.tops)
    return crossings + OVERLAP * on_top


def _order(runs: Sequence[Run]) -> list[Run]:
    """Order runs from above to below with few crossings, by moving one at a time."""
    costs: Mapping[tuple[int, int], int] = {
        (one.net, other.net): _cost(one, other) for one in runs for other in runs if one != other
    }
    order: list[Run] = []
    for run in runs:
        options = [
            sum(costs[above.net, run.net] for above in order[:place])
            + sum(costs[run.net, below.net] for below in order[place:])
            for place in range(len(order) + 1)
        ]
        order.insert(options.index(min(options)), run)
    better = True
    while better:
        better = False
        for place in range(len(order) - 1):
            one, other = order[place : place + 2]
            if costs[other.net, one.net] < costs[one.net, other.net]:
                order[place : place + 2] = other, one
                better = True
    return order
