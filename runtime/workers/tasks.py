"""What a worker is asked for, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["done", "refused", "failed", "cancelled"]


@dataclass(frozen=True)
class Task:
    """One run: a graph by its name, its inputs, and files by the inputs that name them."""

    id: str
    graph: str
    inputs: Mapping[str, Any]
    uploads: Mapping[str, bytes] = field(default_factory=dict[str, bytes])


@dataclass(frozen=True)
class Progress:
    """How far a run is: after this step of its present loop."""

    step: int
    steps: int


@dataclass(frozen=True)
class Outcome:
    """What became of a task: the files that it wrote by their names, or an `error`.

    `failed` means that something broke, `refused` that a node did not take what it was given;
    `refusal` is what that node says, without the place in the graph. `batch` counts the tasks that
    were one run with it.
    """

    id: str
    status: Status
    seconds: float
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    error: str = ""
    refusal: str = ""
    batch: int = 1


Said = Progress | tuple[Outcome, ...] | None
"""What a worker says: None once it is ready, then how far it is, then an outcome for each task."""
