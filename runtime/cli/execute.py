"""Runs a graph for a person at a terminal, who sees how far it is and may end it."""

import argparse
import shlex
import signal
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from graph import Graph

from ..cache.cache import Cache
from ..checkpoint import Checkpoint
from ..errors import RunError
from ..events import Event, NodeStarted, StepFinished
from ..memory.rungs import Saving
from ..profile import Profile
from ..progress import Progress, remarks_among
from ..session import Session
from .shared import FAILED, INTERRUPTED, OK, wrong


def execute(
    graph: Graph,
    inputs: Mapping[str, Any],
    given: argparse.Namespace,
    checkpoint: Checkpoint | None,
    passes: Iterable[str],
    savings: Iterable[Saving] = (),
) -> int:
    """Run a graph with a progress bar, print what it gives, and give the exit code."""
    interrupt = _Interrupt()
    profile = Profile() if given.profile else None
    progress = Progress(sys.stderr)
    listeners = [progress, interrupt, *([profile] if profile else [])]

    def listen(event: Event) -> None:
        for listener in listeners:
            listener(event)

    try:
        # One run makes nothing twice in memory, and would only hold it longer.
        cache = Cache(0, given.cache) if given.cache or given.explain else None
        session = Session(
            given.device, given.dtype, listen, passes, bool(given.profile), cache, checkpoint,
            given.memory, savings,
        )  # fmt: skip
    except (ValueError, OSError) as error:
        raise wrong(error) from error
    try:
        with remarks_among(progress):
            outputs = session(graph, **inputs)
    except KeyboardInterrupt:
        print(f"interrupted{interrupt.where}", file=sys.stderr)
        if checkpoint and (checkpoint.write() or checkpoint.resuming):
            words = ["run-graph", "resume", str(checkpoint.file)]
            words += [word for file in given.nodes for word in ("--nodes", file)]
            print(f"{shlex.join(words)}    # goes on from there", file=sys.stderr)
        return INTERRUPTED
    except RunError as error:
        print(error, file=sys.stderr)
        return FAILED
    if checkpoint:
        checkpoint.file.unlink(missing_ok=True)
    if profile:
        trace = Path(f"{graph.name}.trace.json")
        profile.save_trace(trace)
        print(profile.table(), file=sys.stderr)
        print(f"the trace is in {trace}: open it with ui.perfetto.dev", file=sys.stderr)
    if given.explain and cache:
        for name, why in cache.explained():
            print(f"{name}: {why}", file=sys.stderr)
    for name, value in outputs.items():
        if isinstance(value, str | int | float):
            print(f"{name}: {value}")
    return OK


class _Interrupt:
    """Ends a run after a step, or between two nodes, at the first Ctrl-C; at the second at once."""

    def __init__(self) -> None:
        self.asked = False
        self.where = ""
        signal.signal(signal.SIGINT, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def __call__(self, event: Event) -> None:
        if isinstance(event, StepFinished):
            self.where = f" after step {event.done} of {event.steps} of '{event.loop.name}'"
        if self.asked and isinstance(event, NodeStarted | StepFinished):
            raise KeyboardInterrupt
