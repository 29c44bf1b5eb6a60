"""Tasks to workers: whoever is free takes the next, and one whose worker dies is tried again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from ..workers import Outcome, Task, Wait, Worker, WorkerDied

ATTEMPTS = 3


def spread(
    tasks: Iterable[Task], count: int, start: Callable[[int], Worker], wait: Wait
) -> Iterator[Outcome]:
    """Run tasks on `count` workers and give each outcome as it comes, in any order.

    A task is given only to a worker that is ready, so that none waits for a machine that may never
    come. A dead worker is replaced, and its task goes to the next that is free; after three workers
    died of it, that is the task's outcome. `start` is told a number below `count` that no living
    worker has. Raises WorkerDied if they die before they are ready.
    """
    waiting = deque((task, 1) for task in tasks)
    given: dict[Worker, tuple[Task, int] | None] = {}
    numbers: dict[Worker, int] = {}

    def add(number: int) -> None:
        worker = start(number)
        given[worker], numbers[worker] = None, number

    died_unready = 0
    try:
        for number in range(min(count, len(waiting))):
            add(number)
        while waiting or any(given.values()):
            for worker in wait(list(given)):
                task = given.pop(worker)
                try:
                    said = worker.receive()
                except WorkerDied:
                    worker.stop()
                    died_unready = 0 if task else died_unready + 1
                    if died_unready == ATTEMPTS:
                        raise
                    if task and task[1] < ATTEMPTS:
                        waiting.appendleft((task[0], task[1] + 1))
                    elif task:
                        error = f"{ATTEMPTS} workers died of this row"
                        yield Outcome(task[0].id, "failed", 0.0, error=error)
                    if waiting:
                        add(numbers[worker])
                    continue
                if waiting:
                    given[worker] = task = waiting.popleft()
                    worker.send([task[0]])
                else:
                    worker.stop()
                if isinstance(said, tuple):
                    yield from said
    finally:
        for worker in given:
            worker.stop()
