"""How a graph runs: on which device, in which order, step by step."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cache.cache import Cache
    from .errors import RunError
    from .events import (
        CaptureRefused,
        CompileRefused,
        Event,
        Listen,
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
    from .session import Session

__all__ = [
    "Cache",
    "CaptureRefused",
    "CompileRefused",
    "Event",
    "Listen",
    "LoopFinished",
    "LoopStarted",
    "MemorySpared",
    "NetworkCompiled",
    "NodeFinished",
    "NodeStarted",
    "RunError",
    "RunFinished",
    "RunStarted",
    "Session",
    "StepFinished",
]
_ELSEWHERE = {"Cache": ".cache.cache", "RunError": ".errors", "Session": ".session"}


def __getattr__(name: str) -> Any:
    """Import what is asked for, and no more: the command's help needs no PyTorch."""
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    module = _ELSEWHERE.get(name, ".events")
    return getattr(import_module(module, __name__), name)
