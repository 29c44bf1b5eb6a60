"""How a graph runs: on which device, in which order, step by step."""

from .cache import Cache
from .errors import RunError
from .events import (
    CaptureRefused,
    Event,
    Listen,
    LoopFinished,
    LoopStarted,
    NodeFinished,
    NodeStarted,
    RunFinished,
    RunStarted,
    StepFinished,
)
from .session import Session

__all__ = [
    "Cache",
    "CaptureRefused",
    "Event",
    "Listen",
    "LoopFinished",
    "LoopStarted",
    "NodeFinished",
    "NodeStarted",
    "RunError",
    "RunFinished",
    "RunStarted",
    "Session",
    "StepFinished",
]
