"""Shows a run to a person: a bar on a terminal, plain lines elsewhere."""

import logging
import shutil
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from .events import (
    CaptureRefused,
    CompileRefused,
    Event,
    LoopFinished,
    LoopStarted,
    MemorySpared,
    NetworkCompiled,
    NodeFinished,
    NodeStarted,
    RunFinished,
    RunStarted,
    StepFinished,
)

WIDTH = 30
PAUSE = 0.05  # seconds between two drawings of the bar: steps may take microseconds


class Progress:
    """A listener that writes to a stream how far the run is, and what it saved."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.terminal = stream.isatty()
        self.begin = 0.0
        self.drawn = 0.0
        self.depth = 0  # how many loops are running inside each other

    def __call__(self, event: Event) -> None:
        """Take notice of an event."""
        match event:
            case NodeStarted():
                if not self.depth:
                    self._passing(f"{event.call.name} …")
            case NodeFinished():
                if event.call.node.effect:
                    self.line(f"{event.call.name}: {_words(event.value)}")
            case StepFinished():
                if self.terminal:
                    self._step(event)
            case RunStarted():
                self.line(f"{event.graph}: {event.dtype} on {event.device} ({event.why})")
            case MemorySpared():
                self.line(str(event))
            case NetworkCompiled():
                blocks = ", ".join(f"{count} {name}" for name, count in event.blocks.items())
                self.line(f"{event.name} is compiled when it is first called: {blocks}")
            case CompileRefused():
                self.line(f"{event.name} is not compiled: {event.reason}")
            case LoopStarted():
                self.depth += 1
                self.begin = self.drawn = time.perf_counter()
            case CaptureRefused():
                self.line(f"{event.loop.name} runs node by node: {event.reason}")
            case LoopFinished():
                self.depth -= 1
                steps = f"{event.steps} step{'s' if event.steps != 1 else ''}"
                rate = event.steps / max(event.seconds, 1e-9)
                if not self.depth:
                    self.line(
                        f"{event.loop.name}: {steps} in {event.seconds:.1f} s ({rate:.1f} a second)"
                    )
            case RunFinished():
                self.line(f"done in {event.seconds:.1f} s")

    def _step(self, event: StepFinished) -> None:
        now = time.perf_counter()
        if now - self.drawn >= PAUSE or event.done == event.steps:
            self.drawn = now
            self._passing(self._bar(event))

    def _bar(self, event: StepFinished) -> str:
        full = WIDTH * event.done // event.steps
        left = (time.perf_counter() - self.begin) / event.done * (event.steps - event.done)
        bar = "█" * full + "░" * (WIDTH - full)
        return f"{event.loop.name} {bar} {event.done}/{event.steps}, {left:.0f} s left"

    def _passing(self, text: str) -> None:
        """Show a line that the next one replaces; nothing where lines stay."""
        if self.terminal:
            room = shutil.get_terminal_size().columns - 1
            self.stream.write(f"\r\033[K{text[:room]}")
            self.stream.flush()

    def line(self, text: str) -> None:
        """Write a line that stays."""
        self.stream.write(f"\r\033[K{text}\n" if self.terminal else f"{text}\n")
        self.stream.flush()


class _Remarks(logging.Handler):
    """Writes what is logged as lines of a progress, each once: SDXL reads a prompt twice."""

    def __init__(self, progress: Progress) -> None:
        super().__init__(logging.WARNING)
        self.progress = progress
        self.written: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if text not in self.written:
            self.written.add(text)
            self.progress.line(text)


@contextmanager
def remarks_among(progress: Progress) -> Generator[None]:
    """Write what nodes and the runtime warn of among the lines of a progress."""
    log, remarks = logging.getLogger("run-graph"), _Remarks(progress)
    log.addHandler(remarks)
    try:
        yield
    finally:
        log.removeHandler(remarks)


def _words(value: Any) -> str:
    return ", ".join(map(str, cast("list[Any]", value))) if isinstance(value, list) else str(value)
