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


class WorkerDied(Exception):
    """A worker is no more: killed, out of memory, or its machine lost."""


class Worker(Protocol):
    """What runs one row after the other, elsewhere, and may die of it."""

    def send(self, row: Row) -> None:
        """Begin a row."""
        ...

    def receive(self) -> Outcome | None:
        """Take what the worker has to say: None once it is ready, then an outcome for each row.

        Raises WorkerDied.
        """
        ...

    def stop(self) -> None:
        """Let the worker end."""
        ...


Wait = Callable[[Sequence[Worker]], Sequence[Worker]]
"""Waits until some of the workers have something to say, or died, and gives these."""


def spread(
    rows: Iterable[Row], count: int, start: Callable[[int], Worker], wait: Wait
) -> Iterator[Outcome]:
    """Run rows on `count` workers and give each outcome as it comes, in any order.

    A row is given only to a worker that is ready, so that none waits for a machine that may never
    come. A dead worker is replaced, and its row goes to the next that is free; after three workers
    died of it, that is the row's outcome. `start` is told a number below `count` that no living
    worker has. Raises WorkerDied if they die before they are ready.
    """
    waiting = deque((row, 1) for row in rows)
    tasks: dict[Worker, tuple[Row, int] | None] = {}
    numbers: dict[Worker, int] = {}

    def add(number: int) -> None:
        worker = start(number)
        tasks[worker], numbers[worker] = None, number

    died_unready = 0
    try:
        for number in range(min(count, len(waiting))):
            add(number)
        while waiting or any(tasks.values()):
            for worker in wait(list(tasks)):
                task = tasks.pop(worker)
                try:
                    outcome = worker.receive()
                except WorkerDied:
                    worker.stop()
                    died_unready = 0 if task else died_unready + 1
                    if died_unready == ATTEMPTS:
                        raise
                    if task and task[1] < ATTEMPTS:
                        waiting.appendleft((task[0], task[1] + 1))
                    elif task:
                        yield Outcome(task[0], {}, 0.0, f"{ATTEMPTS} workers died of this row")
                    if waiting:
                        add(numbers[worker])
                    continue
                if waiting:
                    tasks[worker] = task = waiting.popleft()
                    worker.send(task[0])
                else:
                    worker.stop()
                if outcome is not None:
                    yield outcome
    finally:
        for worker in tasks:
            worker.stop()
