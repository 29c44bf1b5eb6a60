"""Whether the weights of a run fit its device, told before one is read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from graph import Finding, Graph, GraphError

from .check import loaders_of, weigh
from .errors import brief


class Fitting:
    """Refuses runs whose weights alone are larger than all the memory of a device.

    It counts the weights that must be there at the same time, on the meta device, and nothing
    else: what it refuses could not have run. The same weights are counted once.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        self.memory = memory_of(device)
        self._fit: set[str] = set()

    def check(self, plan: Graph, known: Mapping[str, Any]) -> None:
        """Raise GraphError for a plan that cannot fit, with the sizes and what would help."""
        key = repr([(call.node.name, call.arguments) for call in loaders_of(plan.blocks)])
        if self.memory is None or key in self._fit:
            return
        report = weigh(plan, known, self.dtype)
        if report.peak_bytes > self.memory:
            each = [f"{cost.name} {_size(cost.weight_bytes)}" for cost in report.costs]
            message = (
                f"the weights of this run need {_size(report.peak_bytes)} at the same time in "
                f"{brief(self.dtype)}, {self.device} has {_size(self.memory)}: {', '.join(each)}"
            )
            help = "--dtype bfloat16 halves them" if self.dtype == torch.float32 else None
            raise GraphError([Finding(None, message, help or "take a smaller checkpoint")])
        self._fit.add(key)


def memory_of(device: torch.device) -> int | None:
    """Give the bytes that a device has in all, with swap; None where that is not known."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    table = Path("/proc/meminfo")
    if device.type != "cpu" or not table.exists():
        return None
    rows = (line.split() for line in table.read_text().splitlines())
    return sum(1024 * int(row[1]) for row in rows if row[0] in ("MemTotal:", "SwapTotal:"))


def _size(count: int) -> str:
    return f"{count / 1e9:.3g} GB"
