"""The two ends of a worker: of those who give it tasks, and its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from typing import Protocol

from .tasks import Outcome, Progress, Said, Task


class WorkerDied(Exception):
    """A worker is no more: killed, out of memory, or its machine lost."""


class Worker(Protocol):
    """What runs tasks elsewhere, and may die of them."""

    def send(self, tasks: Sequence[Task]) -> None:
        """Begin tasks of one graph, as one run if there are several."""
        ...

    def receive(self) -> Said:
        """Wait for what the worker says next; raises WorkerDied."""
        ...

    def cancel(self, id: str) -> None:
        """Ask for the end of a task; a run ends once all its tasks are to end."""
        ...

    def stop(self) -> None:
        """Let the worker end."""
        ...


class Line(Protocol):
    """What a worker tells while it runs, and what it is told."""

    def tell(self, progress: Progress) -> None:
        """Tell how far the run is."""
        ...

    def cancelled(self) -> Set[str]:
        """Name the tasks that are to end."""
        ...


Run = Callable[[Sequence[Task], Line], tuple[Outcome, ...]]
"""Runs tasks, at the worker's own end."""
Prepare = Callable[[int], Run]
"""Called once in a worker, with its number, before its first task."""
Wait = Callable[[Sequence[Worker]], Sequence[Worker]]
"""Waits until some of the workers have something to say, or died, and gives these."""
