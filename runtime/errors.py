"""What a run says when a node fails."""

import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from graph import Call, Place

LESS_MEMORY = (
    "a smaller width, height or count, `tile` where pictures are encoded or decoded, "
    "or --dtype bfloat16; run-graph check GRAPH --cost foretells what a run needs"
)


class RunError(Exception):
    """A run ended because a node or a loop failed; the text says where, why and with what."""

    def __init__(self, place: Place, message: str) -> None:
        self.place = place
        self.message = message
        super().__init__(f"{place}: {message}")


class OutOfMemory(RunError):
    """A call of a node found no memory; `made` are the values of the blocks that were done."""

    def __init__(self, call: Call, message: str) -> None:
        super().__init__(call.place, message)
        self.call = call
        self.made: dict[str, Any] = {}


class Misfit(RunError):
    """A node failed for it was given what does not have the kind that it should have."""


def node_failed(call: Call, arguments: Mapping[str, Any], error: Exception) -> RunError:
    """Describe a node's failure: its place in the graph, its place in the code, its inputs.

    The place is the last one in the node's own file, which may be inside a library otherwise. Of
    what the machine supplies, device and precision are told.
    """
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename) == call.node.source]
    last = (own or frames)[-1]
    told = {name: value for name, value in arguments.items() if _is_told(call, name, value)}
    lines = [
        f"'{call.name}' ({call.node.name}) failed: {type(error).__name__}: {error}",
        f"  raised at {last.filename}:{last.lineno}",
        *(f"  {name}: {brief(value)}" for name, value in told.items()),
    ]
    if _found_no_memory(error):
        lines.append(f"  help: {LESS_MEMORY}")
        return OutOfMemory(call, "\n".join(lines))
    return RunError(call.place, "\n".join(lines))


def _is_told(call: Call, name: str, value: Any) -> bool:
    parameter = call.node.parameters.get(name)
    supplied = parameter is not None and parameter.ambient and name not in call.arguments
    return not supplied or isinstance(value, torch.device | torch.dtype)


def _found_no_memory(error: Exception) -> bool:
    """Tell so of PyTorch's devices, of Python, and of PyTorch on a CPU, which has only words."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    )


def brief(value: Any) -> str:
    """Say in a few words what a value is, without showing its numbers."""
    if isinstance(value, torch.Tensor):
        shape = "×".join(str(side) for side in value.shape) or "scalar"
        return f"{shape} {brief(value.dtype)} on {value.device}"
    if isinstance(value, torch.device | torch.dtype):
        return str(value).removeprefix("torch.")
    if isinstance(value, str | int | float | bool | None):
        return repr(value)
    return type(value).__name__
