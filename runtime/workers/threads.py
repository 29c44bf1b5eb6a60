"""Workers that are threads, and the inner half of those that are actors."""

from __future__ import annotations

from collections.abc import Sequence, Set
from queue import SimpleQueue
from threading import Thread

from .tasks import Progress, Said, Task
from .worker import Prepare, WorkerDied


class ThreadWorker:
    """A thread that runs tasks; what cannot be prepared is a worker that died."""

    def __init__(self, prepare: Prepare, number: int) -> None:
        self._asked: SimpleQueue[Sequence[Task] | None] = SimpleQueue()
        self._said: SimpleQueue[Said | WorkerDied] = SimpleQueue()
        self._cancelled: set[str] = set()
        Thread(target=self._work, args=(prepare, number), daemon=True).start()

    def send(self, tasks: Sequence[Task]) -> None:
        """Begin tasks."""
        self._asked.put(tasks)

    def receive(self) -> Said:
        """Wait for what the thread says next; raises WorkerDied."""
        said = self._said.get()
        if isinstance(said, WorkerDied):
            raise said
        return said

    def cancel(self, id: str) -> None:
        """Ask for the end of a task."""
        self._cancelled.add(id)

    def stop(self) -> None:
        """Let the thread end once it has nothing to do."""
        self._asked.put(None)

    def tell(self, progress: Progress) -> None:
        """Tell how far the run is."""
        self._said.put(progress)

    def cancelled(self) -> Set[str]:
        """Name the tasks that are to end."""
        return self._cancelled

    def _work(self, prepare: Prepare, number: int) -> None:
        try:
            run = prepare(number)
            self._said.put(None)
            while tasks := self._asked.get():
                outcomes = run(tasks, self)
                self._cancelled.difference_update(task.id for task in tasks)
                self._said.put(outcomes)
        except Exception as error:
            self._said.put(WorkerDied(f"a worker died: {type(error).__name__}: {error}"))
