"""A bounded queue in front of workers with warm sessions."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal

from ..workers import Outcome, Progress, Status, Task, Worker, WorkerDied

log = logging.getLogger("run-graph")
KEPT = 64  # ended runs whose results can still be fetched
ATTEMPTS = 2  # so many workers may die of a run
PER_PICTURE = ("prompt", "negative_prompt", "seed")  # inputs in which runs of one batch differ
STARTS = 3  # so many workers in a row may die before they are ready


class QueueFull(Exception):
    """There are as many runs waiting as the queue holds."""


class NoWorkers(Exception):
    """No worker could be started, so nothing would ever run."""


@dataclass(eq=False)
class Run:
    """A run that was asked for, and what became of it."""

    task: Task
    on_change: Callable[[], None] = lambda: None
    status: Literal["queued", "running"] | Status = "queued"
    progress: Progress | None = None
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    error: str = ""
    seconds: float = 0.0
    batch: int = 1
    attempts: int = 0
    cancelled: bool = False

    @property
    def has_ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.status not in ("queued", "running")

    def tell(self) -> dict[str, Any]:
        """Describe the run, without its files."""
        told: dict[str, Any] = {"id": self.task.id, "graph": self.task.graph, "status": self.status}
        if self.progress:
            told |= {"step": self.progress.step, "steps": self.progress.steps}
        if self.error:
            told["error"] = self.error
        if self.has_ended:
            told |= {"seconds": round(self.seconds, 3), "files": sorted(self.files)}
        if self.batch > 1:
            told["batch"] = self.batch
        return told


class Queue:
    """Runs that wait, and `count` workers, each served by a thread, that take the next when free.

    At most `room` wait; one more raises QueueFull. A worker that dies is replaced, and its run is
    tried once more, alone, by whoever is free. The last `KEPT` runs that ended can be looked up.
    A worker takes up to `batch` waiting runs at once, where they differ only per picture.
    """

    def __init__(
        self, count: int, start: Callable[[int], Worker], room: int, batch: int = 1
    ) -> None:
        self.room, self.batch = room, batch
        self.ended: dict[tuple[str, str], int] = {}
        self.seconds: dict[str, float] = {}
        self.ready: set[int] = set()
        self._start = start
        self._waiting: deque[Run] = deque()
        self._running: dict[Worker, list[Run]] = {}
        self._known: OrderedDict[str, Run] = OrderedDict()
        self._change = threading.Condition(threading.RLock())
        self._closed = False
        self._serving = count
        self._threads = [
            threading.Thread(target=self._serve, args=(number,), name="run-graph", daemon=True)
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def running(self) -> int:
        """How many runs are being worked at."""
        return sum(map(len, self._running.values()))

    @property
    def is_alive(self) -> bool:
        """Whether there is a worker, or one is being started."""
        return self._serving > 0

    def submit(self, run: Run) -> None:
        """Put a run at the end; raises QueueFull and NoWorkers."""
        with self._change:
            if not self.is_alive:
                raise NoWorkers
            if len(self._waiting) >= self.room:
                raise QueueFull
            self._waiting.append(run)
            self._known[run.task.id] = run
            old = [id for id, each in self._known.items() if each.has_ended]
            for id in old[: max(0, len(old) - KEPT)]:
                del self._known[id]
            self._change.notify()

    def find(self, id: str) -> Run | None:
        """Look up a run; None for one that never was, or ended long ago."""
        return self._known.get(id)

    def cancel(self, run: Run) -> None:
        """End a run: at once if it waits, after its present step if it runs."""
        with self._change:
            run.cancelled = True
            if run in self._waiting:
                self._waiting.remove(run)
                self._end(run, Outcome(run.task.id, "cancelled", 0.0))
            for worker, runs in self._running.items():
                if run in runs:
                    worker.cancel(run.task.id)

    def close(self) -> None:
        """Cancel everything, and let the workers end."""
        with self._change:
            self._closed = True
            for run in [*self._waiting, *chain(*self._running.values())]:
                self.cancel(run)
            self._change.notify_all()
        for number in tuple(self.ready):
            self._threads[number].join(timeout=30)

    def _serve(self, number: int) -> None:
        starts = 0
        while not self._closed and starts < STARTS:
            worker = self._start(number)
            starts += 1
            try:
                worker.receive()
                self.ready.add(number)
                starts = 0
                while runs := self._take(worker):
                    self._work(worker, runs)
            except WorkerDied as error:
                log.warning("%s", error)
            finally:
                self.ready.discard(number)
                worker.stop()
        with self._change:
            self._serving -= 1
            while self._waiting and not self._serving:
                run = self._waiting.popleft()
                self._end(
                    run, Outcome(run.task.id, "failed", 0.0, error="no worker can be started")
                )

    def _take(self, worker: Worker) -> list[Run]:
        """Wait for runs for a worker; none once the queue is closed."""
        with self._change:
            self._change.wait_for(lambda: self._waiting or self._closed)
            if self._closed:
                return []
            first = self._waiting[0]
            runs = [run for run in self._waiting if run is first or _alike(run, first)]
            self._running[worker] = runs = runs[: self.batch]
            for run in runs:
                self._waiting.remove(run)
            return runs

    def _work(self, worker: Worker, runs: Sequence[Run]) -> None:
        """Have a worker run; raises WorkerDied, and then these runs wait again or have failed."""
        for run in runs:
            run.status, run.attempts = "running", run.attempts + 1
            run.on_change()
        try:
            worker.send([run.task for run in runs])
            while not isinstance(said := worker.receive(), tuple):
                for run in runs:
                    run.progress = said
                    run.on_change()
        except WorkerDied as error:
            message = f"{ATTEMPTS} workers died of this run, at last: {error}"
            with self._change:
                del self._running[worker]
                for run in reversed(runs):
                    if run.attempts == ATTEMPTS or run.cancelled:
                        self._end(run, Outcome(run.task.id, "failed", 0.0, error=message))
                    else:
                        run.status, run.progress = "queued", None
                        self._waiting.appendleft(run)
                self._change.notify_all()
            raise
        with self._change:
            del self._running[worker]
            for run, outcome in zip(runs, said, strict=True):
                self._end(run, outcome)

    def _end(self, run: Run, outcome: Outcome) -> None:
        """Note what became of a run."""
        if not run.cancelled:
            run.batch = outcome.batch
            run.files, run.error = outcome.files, outcome.refusal or outcome.error
        run.seconds = outcome.seconds
        run.status = "cancelled" if run.cancelled else outcome.status  # last: others look at it
        key = run.task.graph, run.status
        self.ended[key] = self.ended.get(key, 0) + 1
        self.seconds[run.task.graph] = self.seconds.get(run.task.graph, 0.0) + run.seconds
        run.on_change()


def _alike(one: Run, other: Run) -> bool:
    """Tell whether two runs can be one batch."""
    tasks = one.task, other.task
    same = [{**task.inputs, **dict.fromkeys(PER_PICTURE)} for task in tasks]
    return (
        not (one.attempts or other.attempts or one.task.uploads or other.task.uploads)
        and one.task.graph == other.task.graph
        and repr(sorted(same[0].items())) == repr(sorted(same[1].items()))
    )
