"""How fast a graph runs on this machine: planned, without each pass, and beside its ceiling."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from graph import Graph, bind

from .check import check_shapes
from .session import Session


@dataclass(frozen=True)
class Timed:
    """What runs of one kind took, in seconds: the first, and the later ones."""

    name: str
    first: float
    later: list[float]

    @property
    def median(self) -> float:
        """The median of the later runs."""
        return statistics.median(self.later)

    def ratios(self, other: "Timed") -> tuple[float, float, float]:
        """Give the median, lowest and highest ratio of a later run to the other's of its turn."""
        found = [mine / its for mine, its in zip(self.later, other.later, strict=True)]
        return statistics.median(found), min(found), max(found)


def bench(
    graph: Graph,
    inputs: Mapping[str, Any],
    session: Session,
    runs: int,
    tell: Callable[[str], None],
) -> str:
    """Time a graph as a session plans it, without any pass, and without each; give a table.

    The kinds take turns, so that what else the machine does disturbs all of them. A run before
    those takes what a process does but once. `tell` is told which run begins.
    """
    kinds = {"planned": session.passes, "not planned": ()}
    kinds |= {
        f"without {name}": tuple(other for other in session.passes if other != name)
        for name in session.passes
    }
    sessions = {
        name: Session(str(session.device), session.precision, passes=passes, cache=None)
        for name, passes in kinds.items()
    }
    tell("a run that is not counted")
    Session(str(session.device), session.precision, passes=(), cache=None)(graph, **inputs)
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for turn in range(1 + runs):
        for name, one in sessions.items():
            tell(f"turn {turn + 1} of {1 + runs}: {name}")
            begin = time.perf_counter()
            one(graph, **inputs)
            times[name].append(time.perf_counter() - begin)
    found = [Timed(name, first, later) for name, (first, *later) in times.items()]
    return "\n".join(_table(graph, inputs, session, found))


def _table(
    graph: Graph, inputs: Mapping[str, Any], session: Session, found: list[Timed]
) -> Iterator[str]:
    planned, *others = found
    rate = ceiling(session.device, session.dtype)
    flops = check_shapes(graph, bind(graph, inputs), session.dtype).flops
    yield f"{graph.name}: {session.precision} on {session.device}, {len(planned.later)} runs each"
    yield f"{'':<16}  first s  later s  of planned"
    for one in (planned, *others):
        ratio, low, high = one.ratios(planned)
        spread = f"{ratio:11.2f} ({low:.2f} to {high:.2f})"
        yield f"{one.name:<16} {one.first:8.3f} {one.median:8.3f} {spread}"
    share = f"{flops / planned.median / rate:.0%} of what matrices are multiplied at here"
    yield f"{flops / 1e12:.3f} TFLOP a run, {flops / planned.median / 1e9:.0f} GFLOP/s: {share}"


def ceiling(device: torch.device, dtype: torch.dtype, side: int = 2048) -> float:
    """Measure what matrix multiplication reaches, in operations a second: the best of a few."""
    one, other = (torch.ones(side, side, dtype=dtype, device=device) for _ in range(2))
    times: list[float] = []
    for _ in range(5):
        begin = time.perf_counter()
        (one @ other)[0, 0].item()  # waits for a GPU
        times.append(time.perf_counter() - begin)
    return 2 * side**3 / min(times)
