"""Workers that are processes of this machine."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Sequence, Set
from multiprocessing.connection import Connection, wait
from threading import Lock
from typing import cast

from .tasks import Progress, Said, Task
from .worker import Prepare, Worker, WorkerDied


class ProcessWorker:
    """A process that runs tasks."""

    def __init__(self, prepare: Prepare, number: int) -> None:
        context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_work, args=(prepare, number, other), daemon=True)
        self.process.start()
        self._sending = Lock()  # who cancels is another thread than who sends
        other.close()  # or the end of the process would not be seen

    def send(self, tasks: Sequence[Task]) -> None:
        """Begin tasks; that a process is dead shows when their outcome is received."""
        self._send(tasks)

    def receive(self) -> Said:
        """Wait for what the process says next; raises WorkerDied."""
        try:
            return cast("Said", self.connection.recv())
        except (EOFError, ConnectionResetError) as error:
            raise WorkerDied("a worker died: what its process said stands above") from error

    def cancel(self, id: str) -> None:
        """Ask for the end of a task."""
        self._send(id)

    def stop(self) -> None:
        """Let the process end once it has nothing to do."""
        self.connection.close()

    def _send(self, message: Sequence[Task] | str) -> None:
        with self._sending, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(message)


def wait_for_processes(workers: Sequence[Worker]) -> Sequence[Worker]:
    """Wait until some processes have something to say, or died."""
    processes = cast("Sequence[ProcessWorker]", workers)
    ready = wait([worker.connection for worker in processes])
    return [worker for worker in processes if worker.connection in ready]


class _Line:
    """The process's own end."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.ids: set[str] = set()

    def tell(self, progress: Progress) -> None:
        """Tell how far the run is."""
        self.connection.send(progress)

    def cancelled(self) -> Set[str]:
        """Name the tasks that are to end: nothing else arrives while a run is under way."""
        while self.connection.poll():
            self.ids.add(cast("str", self.connection.recv()))
        return self.ids


def _work(prepare: Prepare, number: int, connection: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that gives the tasks
    run, line = prepare(number), _Line(connection)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        connection.send(None)
        while True:  # until the other end is closed, also because its process was killed
            asked = cast("Sequence[Task] | str", connection.recv())
            if isinstance(asked, str):  # before the task, or after its outcome
                line.ids.add(asked)
            else:
                outcomes = run(asked, line)
                line.ids.clear()
                connection.send(outcomes)
