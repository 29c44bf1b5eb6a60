"""Workers that are processes of this machine."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from typing import cast

from .rows import Row
from .spread import Outcome, Worker, WorkerDied

Run = Callable[[Row], Outcome]


class ProcessWorker:
    """A process that runs rows; `prepare` is called in it, once, with the worker's number."""

    def __init__(self, prepare: Callable[[int], Run], number: int) -> None:
        context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_work, args=(prepare, number, other), daemon=True)
        self.process.start()
        other.close()  # or the end of the process would not be seen

    def send(self, row: Row) -> None:
        """Begin a row; that a process is dead shows when its outcome is received."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(row)

    def receive(self) -> Outcome | None:
        """Take what the process has to say; raises WorkerDied."""
        try:
            return cast("Outcome | None", self.connection.recv())
        except (EOFError, ConnectionResetError) as error:
            raise WorkerDied("a process of the sweep died: what it said stands above") from error

    def stop(self) -> None:
        """Let the process end once it has nothing to do."""
        self.connection.close()


def wait_for_processes(workers: Sequence[Worker]) -> Sequence[Worker]:
    """Wait until some processes have something to say, or died."""
    processes = cast("Sequence[ProcessWorker]", workers)
    ready = wait([worker.connection for worker in processes])
    return [worker for worker in processes if worker.connection in ready]


def _work(prepare: Callable[[int], Run], number: int, connection: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that gives the rows
    run = prepare(number)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        connection.send(None)
        while True:  # until the other end is closed, also because its process was killed
            connection.send(run(cast("Row", connection.recv())))
