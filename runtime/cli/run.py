"""`run-graph GRAPH`: run a graph, or show what it takes."""

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType

from graph import Finding, GraphError, load, parse_inputs

from ..cache import Cache
from ..describe import describe_graph
from ..errors import RunError
from ..events import Event, NodeStarted, StepFinished
from ..profile import Profile
from ..progress import Progress
from ..session import Session
from . import sweep
from .lock import locked
from .shared import FAILED, INTERRUPTED, OK, WRONG


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take a graph and its inputs, and where to run it."""
    option = parser.add_argument
    option("words", nargs="*", metavar="GRAPH [name=value ...]")
    option("-h", "--help", action="store_true")
    option("--device", default="auto")
    option("--dtype", default="auto")
    option("--profile", action="store_true")
    option("--cache", type=Path, metavar="DIR")
    option("--explain", action="store_true")
    option("--lock", type=Path, metavar="FILE")
    sweep.add_arguments(parser)


def run(given: argparse.Namespace) -> int:
    """Run the graph with a progress bar, or print its help."""
    if not given.words:
        raise GraphError(
            [Finding(None, "no graph is given: write run-graph GRAPH [name=value ...]")]
        )
    graph = load(given.words[0])
    if given.help:
        print(describe_graph(graph))
        return OK
    inputs = parse_inputs(graph, given.words[1:])
    if given.lock:
        graph = locked(graph, inputs, given.lock)
    if given.sweep or given.grid:
        return sweep.run(given, graph, inputs)
    progress = Progress(sys.stderr)
    interrupt = _Interrupt()
    profile = Profile() if given.profile else None

    def listen(event: Event) -> None:
        if profile:
            profile(event)
        progress(event)
        interrupt(event)

    try:
        # One run makes nothing twice in memory, and would only hold it longer.
        cache = Cache(0, given.cache) if given.cache or given.explain else None
        session = Session(given.device, given.dtype, listen, capture=not given.profile, cache=cache)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return WRONG
    try:
        outputs = session(graph, **inputs)
    except KeyboardInterrupt:
        print(f"interrupted{interrupt.where}", file=sys.stderr)
        return INTERRUPTED
    except RunError as error:
        print(error, file=sys.stderr)
        return FAILED
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
    """Ends a run between two nodes at the first Ctrl-C, and at once at the second."""

    def __init__(self) -> None:
        self.asked = False
        self.where = ""
        signal.signal(signal.SIGINT, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def __call__(self, event: Event) -> None:
        if isinstance(event, StepFinished):
            self.where = f" after step {event.index + 1} of {event.steps} of '{event.loop.name}'"
        if self.asked and isinstance(event, NodeStarted | StepFinished):
            raise KeyboardInterrupt
