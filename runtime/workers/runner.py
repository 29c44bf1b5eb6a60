"""Runs whose files come back as bytes, so that they can travel."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graph import Graph, GraphError, written_inputs

from ..errors import RunError
from ..events import Event, Listen, NodeStarted, StepFinished
from ..session import Session
from .tasks import Outcome, Progress, Task
from .worker import Line


class _Cancelled(Exception):
    """Ends a run between two of its nodes."""


@dataclass(frozen=True)
class Runner:
    """A warm session, and the graphs that it runs by their names.

    A run that is `watched` tells of its steps, and ends after the present one if it is cancelled.
    """

    session: Session
    graphs: Mapping[str, Graph]
    watched: bool = False

    def __call__(self, tasks: Sequence[Task], line: Line) -> tuple[Outcome, ...]:
        """Run tasks, as a worker does."""
        if self.watched:
            self.session.listen = _listening(line, {task.id for task in tasks})
        return tuple(self.run(task) for task in tasks)

    def run(self, task: Task) -> Outcome:
        """Run a task; that it fails is an outcome, too."""
        begin = time.perf_counter()

        def seconds() -> float:
            return time.perf_counter() - begin

        try:
            files = self._files(task)
            return Outcome(task.id, "done", seconds(), files)
        except _Cancelled:
            return Outcome(task.id, "cancelled", seconds())
        except GraphError as error:
            return Outcome(task.id, "refused", seconds(), error=str(error))
        except RunError as error:
            cause = error.__cause__
            if isinstance(cause, ValueError):
                return Outcome(task.id, "refused", seconds(), {}, str(error), str(cause))
            return Outcome(task.id, "failed", seconds(), error=str(error))
        except Exception as error:
            return Outcome(task.id, "failed", seconds(), error=f"{type(error).__name__}: {error}")

    def _files(self, task: Task) -> dict[str, bytes]:
        """Give the files that a run writes, by the names that it would give them."""
        graph = self.graphs[task.graph]
        with tempfile.TemporaryDirectory(prefix="run-graph-") as folder:
            given, made = Path(folder, "given"), Path(folder, "made")
            inputs = dict[str, Any](task.inputs)
            given.mkdir()
            made.mkdir()
            for name, content in task.uploads.items():
                (given / name).write_bytes(content)
                inputs[name] = str(given / name)
            for name in written_inputs(graph):
                inputs[name] = str(made / Path(graph.inputs[name].default or f"{name}.png").name)
            self.session(graph, **inputs)
            return {path.name: path.read_bytes() for path in sorted(made.iterdir())}


def _listening(line: Line, ids: set[str]) -> Listen:
    def listen(event: Event) -> None:
        if isinstance(event, StepFinished):
            line.tell(Progress(event.index + 1, event.steps))
        if isinstance(event, NodeStarted | StepFinished) and ids <= line.cancelled():
            raise _Cancelled

    return listen
