"""A bounded queue of runs and the one thread that works it off; knows nothing of HTTP."""

from __future__ import annotations

import tempfile
import threading
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from graph import Graph, GraphError

from ..errors import RunError
from ..events import Event, NodeStarted, StepFinished
from ..session import Session
from ..sweep import run_files

Status = Literal["queued", "running", "done", "failed", "refused", "cancelled"]
ENDED: tuple[Status, ...] = ("done", "failed", "refused", "cancelled")
KEPT = 64  # ended runs whose results can still be fetched


class QueueFull(Exception):
    """There are as many runs waiting as the queue holds."""


@dataclass
class Run:
    """A run that was asked for, and what became of it.

    `uploads` are files by the input that names them. `refused` means that a node did not take what
    it was given, `failed` that something broke.
    """

    graph: Graph
    inputs: Mapping[str, Any]
    uploads: Mapping[str, bytes]
    on_change: Callable[[], None] = lambda: None
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    status: Status = "queued"
    step: int = 0
    steps: int = 0
    files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    error: str = ""
    seconds: float = 0.0
    cancelled: bool = False

    def tell(self) -> dict[str, Any]:
        """Describe the run, without its files."""
        told = {"id": self.id, "graph": self.graph.name, "status": self.status}
        if self.steps:
            told |= {"step": self.step, "steps": self.steps}
        if self.error:
            told["error"] = self.error
        if self.status in ENDED:
            told |= {"seconds": round(self.seconds, 3), "files": sorted(self.files)}
        return told


class _Cancelled(Exception):
    """Ends a run between two of its nodes."""


class Queue:
    """Runs one after the other in a thread of its own, on a session that stays warm.

    At most `room` wait; one more raises QueueFull. The last `KEPT` that ended can be looked up.
    """

    def __init__(self, device: str, dtype: str, room: int) -> None:
        self.room = room
        self.ended: dict[tuple[str, Status], int] = {}
        self.seconds: dict[str, float] = {}
        self._waiting: deque[Run] = deque()
        self._running: Run | None = None
        self._known: OrderedDict[str, Run] = OrderedDict()
        self._change = threading.Condition()
        self._closed = False
        self._session = Session(device, dtype, self._listen)
        self._thread = threading.Thread(target=self._work, name="run-graph", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_running(self) -> bool:
        """Whether a run is being worked at."""
        return self._running is not None

    @property
    def is_alive(self) -> bool:
        """Whether there is a thread that works."""
        return self._thread.is_alive()

    def submit(self, run: Run) -> None:
        """Put a run at the end; raises QueueFull."""
        with self._change:
            if len(self._waiting) >= self.room:
                raise QueueFull
            self._waiting.append(run)
            self._known[run.id] = run
            old = [each.id for each in self._known.values() if each.status in ENDED]
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
                self._end(run, "cancelled")

    def close(self) -> None:
        """Cancel everything, and let the thread end."""
        for run in [*self._waiting, *([self._running] if self._running else [])]:
            self.cancel(run)
        with self._change:
            self._closed = True
            self._change.notify()
        self._thread.join(timeout=30)

    def _work(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                self._running = run = self._waiting.popleft()
            self._run(run)
            self._running = None

    def _run(self, run: Run) -> None:
        run.status = "running"
        run.on_change()
        begin = time.perf_counter()
        try:
            with tempfile.TemporaryDirectory(prefix="run-graph-") as folder:
                uploaded = {name: Path(folder) / name for name in run.uploads}
                for name, path in uploaded.items():
                    path.write_bytes(run.uploads[name])
                paths = {name: str(path) for name, path in uploaded.items()}
                run.files = run_files(self._session, run.graph, {**run.inputs, **paths})
            status: Status = "done"
        except _Cancelled:
            status = "cancelled"
        except GraphError as error:
            status, run.error = "refused", str(error)
        except RunError as error:
            # What a node says of what it was given is for the caller, all else is for the server.
            status = "refused" if isinstance(error.__cause__, ValueError) else "failed"
            run.error = str(error.__cause__) if status == "refused" else str(error)
        except Exception as error:
            status, run.error = "failed", f"{type(error).__name__}: {error}"
        run.seconds = time.perf_counter() - begin
        self._end(run, status)

    def _end(self, run: Run, status: Status) -> None:
        key = run.graph.name, status
        self.ended[key] = self.ended.get(key, 0) + 1
        self.seconds[run.graph.name] = self.seconds.get(run.graph.name, 0.0) + run.seconds
        run.status = status
        run.on_change()

    def _listen(self, event: Event) -> None:
        run = self._running
        if run is None:
            return
        if isinstance(event, StepFinished):
            run.step, run.steps = event.index + 1, event.steps
            run.on_change()
        if run.cancelled and isinstance(event, NodeStarted | StepFinished):
            raise _Cancelled
