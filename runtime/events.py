"""What a run tells: plain values, handed to whoever listens."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from graph import Call, Loop


class RunStarted(NamedTuple):
    """A run begins, on this device and in this precision of the networks, chosen for a reason."""

    graph: str
    device: str
    dtype: str
    why: str


class MemorySpared(NamedTuple):
    """A call is made otherwise, so that the run holds less: by this measure, for this reason."""

    call: str
    measure: str
    why: str

    def __str__(self) -> str:
        return f"{self.call}: {self.measure}, {self.why}"


class NetworkCompiled(NamedTuple):
    """The blocks of a network, so many of each class, are compiled when they are first called."""

    name: str
    blocks: Mapping[str, int]


class CompileRefused(NamedTuple):
    """What has this name, a network or a whole run, is not compiled, for this reason."""

    name: str
    reason: str


class NodeStarted(NamedTuple):
    """A node is about to be called."""

    call: Call


class NodeFinished(NamedTuple):
    """A node gave its value."""

    call: Call
    value: Any


class LoopStarted(NamedTuple):
    """A loop begins to walk its sequences."""

    loop: Loop
    steps: int


class StepFinished(NamedTuple):
    """A step of a loop is done, so that so many are."""

    loop: Loop
    done: int
    steps: int


class CaptureRefused(NamedTuple):
    """A loop's body is run node by node, not as a recording, for this reason."""

    loop: Loop
    reason: str


class LoopFinished(NamedTuple):
    """A loop has its value, after this many steps."""

    loop: Loop
    steps: int
    seconds: float


class RunFinished(NamedTuple):
    """A run has all its outputs."""

    seconds: float


Event = (
    RunStarted
    | MemorySpared
    | NetworkCompiled
    | CompileRefused
    | NodeStarted
    | NodeFinished
    | LoopStarted
    | CaptureRefused
    | StepFinished
    | LoopFinished
    | RunFinished
)
Listen = Callable[[Event], None]
"""What is told of events, between nodes; whatever it raises ends the run there.

Of the nodes inside loops it is told only of effects, unless a session is to tell of `each_node`.
"""
