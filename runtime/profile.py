"""Where a run's time went: a table for a person, a trace for Perfetto or chrome://tracing."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .errors import brief
from .events import (
    Event,
    LoopFinished,
    LoopStarted,
    NodeFinished,
    NodeStarted,
    RunFinished,
    RunStarted,
    StepFinished,
)


@dataclass(frozen=True)
class Span:
    """What took time: a node, a loop, a step of one, or the run; times in seconds."""

    kind: str
    name: str
    node: str
    begin: float
    seconds: float
    value: str = ""


class Profile:
    """A listener that takes the time of everything it is told of.

    On a GPU it waits, before and after every node, until all work is done: the run takes longer
    then, but each node's time is its own.
    """

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.title = ""
        self._begun: list[float] = []

    def __call__(self, event: Event) -> None:
        """Take the time of an event."""
        now = _now()
        match event:
            case RunStarted():
                self.title = f"{event.graph}: {event.dtype} on {event.device}"
                self._begun = [now]
            case NodeStarted():
                self._begun.append(now)
            case LoopStarted():
                self._begun += [now, now]
            case NodeFinished():
                call = event.call
                self._end("node", call.name, call.node.name, now, brief(event.value))
            case StepFinished():
                self._end("step", f"step {event.done} of {event.steps}", "", now)
                self._begun.append(_now())
            case LoopFinished():
                self._begun.pop()
                self._end("loop", event.loop.name, f"{event.steps} steps", now)
            case RunFinished():
                self._end("run", "run", "", now)
            case _:
                pass

    def _end(self, kind: str, name: str, node: str, now: float, value: str = "") -> None:
        begin = self._begun.pop()
        self.spans.append(Span(kind, name, node, begin, now - begin, value))

    def table(self) -> str:
        """Give a line for every block, the slowest first, and for what is between the nodes."""
        whole = sum(span.seconds for span in self.spans if span.kind == "run")
        found: dict[tuple[str, str], list[float]] = {}
        for span in self.spans:
            if span.kind == "node":
                found.setdefault((span.name, span.node), []).append(span.seconds)
        rows = [
            (name, node, str(len(times)), sum(times), 1e3 * sum(times) / len(times))
            for (name, node), times in found.items()
        ]
        between = whole - sum(row[3] for row in rows)
        rows.append(("between the nodes", "", "", between, 1e3 * between))
        rows.sort(key=lambda row: -row[3])
        wide, next_wide = max(len(row[0]) for row in rows), max(len(row[1]) for row in rows)
        lines = [f"{'block':<{wide}}  {'node':<{next_wide}}  calls        s  share  ms a call"]
        lines += [
            f"{name:<{wide}}  {node:<{next_wide}}  {calls:>5} {seconds:8.3f} "
            f"{seconds / max(whole, 1e-9):6.1%} {each:10.2f}"
            for name, node, calls, seconds, each in rows
        ]
        return "\n".join([self.title, *lines])

    def save_trace(self, path: Path) -> None:
        """Write the trace events of Chrome's format, times in microseconds."""
        begin = min((span.begin for span in self.spans), default=0.0)
        events: list[dict[str, Any]] = [
            {
                "name": span.name, "cat": span.kind, "ph": "X", "pid": 0, "tid": 0,
                "ts": 1e6 * (span.begin - begin), "dur": 1e6 * span.seconds,
                "args": {"node": span.node, "value": span.value},
            }
            for span in self.spans
        ]  # fmt: skip
        path.write_text(json.dumps({"traceEvents": events, "otherData": {"graph": self.title}}))


def _now() -> float:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()
