"""Rows to workers: whoever is free takes the next, and a row whose worker dies is tried again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from .rows import Row

ATTEMPTS = 3


@dataclass(frozen=True)
class Outcome:
    """What became of a row: the files that it wrote by their names, or an `error`."""

    row: Row
    files: dict[str, bytes]
    seconds: float
    error: str = ""


class Worker(Protocol):
    """What runs one row after the other, elsewhere, and may die of it."""

    def send(self, row: Row) -> None:
        """Begin a row."""
        ...

    def receive(self) -> Outcome | None:
        """Take what became of the row; None if the worker died."""
        ...

    def stop(self) -> None:
        """Let the worker end."""
        ...


Wait = Callable[[Sequence[Worker]], Sequence[Worker]]
"""Waits until some of the workers have an outcome, or died, and gives these."""


def spread(
    rows: Iterable[Row], count: int, start: Callable[[int], Worker], wait: Wait
) -> Iterator[Outcome]:
    """Run rows on `count` workers and give each outcome as it comes, in any order.

    `start` makes the worker of a number. A dead worker is replaced, and its row goes to the next
    that is free; after three workers died of it, that is the row's outcome.
    """
    waiting = deque((row, 1) for row in rows)
    idle: dict[int, Worker] = {}
    busy: dict[int, tuple[Worker, Row, int]] = {}
    free = list(range(min(count, len(waiting))))
    try:
        while waiting or busy:
            while waiting and (idle or free):
                number, worker = idle.popitem() if idle else (free[0], start(free.pop(0)))
                row, attempt = waiting.popleft()
                busy[number] = worker, row, attempt
                worker.send(row)
            ready = wait([worker for worker, _, _ in busy.values()])
            for number, (worker, row, attempt) in list(busy.items()):
                if worker not in ready:
                    continue
                del busy[number]
                outcome = worker.receive()
                if outcome is not None:
                    idle[number] = worker
                    yield outcome
                    continue
                worker.stop()
                free.append(number)
                if attempt < ATTEMPTS:
                    waiting.appendleft((row, attempt + 1))
                else:
                    yield Outcome(row, {}, 0.0, f"{ATTEMPTS} workers died of this row, one by one")
    finally:
        for worker in [*idle.values(), *(worker for worker, _, _ in busy.values())]:
            worker.stop()
