"""Runs whose files come back as bytes, so that they can travel."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graph import Graph, GraphError, written_inputs

from ..errors import Misfit, RunError
from ..events import Event, Listen, NodeStarted, StepFinished
from ..session import Session
from .tasks import Outcome, Progress, Task
from .worker import Line


class _Cancelled(Exception):
    """Ends a run after one of its steps, or between two of its nodes."""


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
        return self.run(tasks)

    def run(self, tasks: Sequence[Task]) -> tuple[Outcome, ...]:
        """Run tasks; that one fails is an outcome, too.

        Several are one run. Where that fails, each is run alone, so that none fails for another.
        """
        begin = time.perf_counter()
        try:
            made = self._files(tasks)
        except Exception as error:
            if len(tasks) > 1 and not isinstance(error, _Cancelled):
                return tuple(outcome for task in tasks for outcome in self.run([task]))
            seconds = time.perf_counter() - begin
            return tuple(_failure(task.id, seconds, error) for task in tasks)
        seconds = time.perf_counter() - begin
        return tuple(
            Outcome(task.id, "done", seconds, files, batch=len(tasks))
            for task, files in zip(tasks, made, strict=True)
        )

    def _files(self, tasks: Sequence[Task]) -> list[dict[str, bytes]]:
        """Give the files that each task writes, by the names that it would give them."""
        graph = self.graphs[tasks[0].graph]
        with tempfile.TemporaryDirectory(prefix="run-graph-") as folder:
            folders = [Path(folder, str(number)) for number in range(len(tasks))]
            runs = [_with_files(graph, *pair) for pair in zip(tasks, folders, strict=True)]
            if len(runs) == 1:
                self.session(graph, **runs[0])
            else:
                self.session.together(graph, runs)
            return [
                {path.name: path.read_bytes() for path in sorted((each / "made").iterdir())}
                for each in folders
            ]


def _with_files(graph: Graph, task: Task, folder: Path) -> dict[str, Any]:
    """Give the inputs of a run that finds its uploads in a folder, and writes its files there."""
    given, made = folder / "given", folder / "made"
    given.mkdir(parents=True)
    made.mkdir()
    inputs = dict(task.inputs)
    for name, content in task.uploads.items():
        (given / name).write_bytes(content)
        inputs[name] = str(given / name)
    for name in written_inputs(graph):
        inputs[name] = str(made / Path(graph.inputs[name].default or f"{name}.png").name)
    return inputs


def _failure(id: str, seconds: float, error: Exception) -> Outcome:
    if isinstance(error, _Cancelled):
        return Outcome(id, "cancelled", seconds)
    if isinstance(error, GraphError):
        return Outcome(id, "refused", seconds, error=str(error))
    if not isinstance(error, RunError):
        return Outcome(id, "failed", seconds, error=f"{type(error).__name__}: {error}")
    cause = error.__cause__
    if isinstance(cause, ValueError) and not isinstance(error, Misfit):
        return Outcome(id, "refused", seconds, error=str(error), refusal=str(cause))
    return Outcome(id, "failed", seconds, error=str(error))


def _listening(line: Line, ids: set[str]) -> Listen:
    def listen(event: Event) -> None:
        if isinstance(event, StepFinished):
            line.tell(Progress(event.done, event.steps))
        if isinstance(event, NodeStarted | StepFinished) and ids <= line.cancelled():
            raise _Cancelled

    return listen
