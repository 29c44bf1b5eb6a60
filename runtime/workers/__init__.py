"""Runs elsewhere: in a thread, in another process, or in an actor of a Ray cluster."""

from .runner import Runner
from .tasks import Outcome, Progress, Said, Status, Task
from .threads import ThreadWorker
from .worker import Line, Prepare, Run, Wait, Worker, WorkerDied

__all__ = [
    "Line",
    "Outcome",
    "Prepare",
    "Progress",
    "Run",
    "Runner",
    "Said",
    "Status",
    "Task",
    "ThreadWorker",
    "Wait",
    "Worker",
    "WorkerDied",
]
