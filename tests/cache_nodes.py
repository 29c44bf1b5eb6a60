"""Nodes, and a session that notes which of them it calls, for the tests of what is remembered."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from graph import Registry, load_text
from runtime import NodeStarted, Session

registry = Registry()


class Halves(NamedTuple):
    left: Tensor
    right: Tensor


def at_path(path: str) -> list[Path]:
    return [Path(path)]


@registry.node
def numbers(seed: int) -> Tensor:
    """Draw numbers."""
    return torch.randn(4, generator=torch.Generator().manual_seed(seed))


@registry.node
def mix(a: Tensor, b: Tensor, weight: float = 0.5) -> Tensor:
    """Mix."""
    return weight * a + (1 - weight) * b


@registry.node
def halves(a: Tensor) -> Halves:
    """Split."""
    return Halves(a * 2, a + 1)


@registry.node(reads=at_path)
def read(path: str) -> Tensor:
    """Read numbers from a file."""
    return torch.tensor([float(word) for word in Path(path).read_text().split()])


@registry.node
def total(all: list[Tensor]) -> Tensor:
    """Add up."""
    return torch.stack(all).sum(0)


@registry.node
def opaque(a: Tensor) -> object:
    """Give what no file can hold."""
    return object()


@registry.node
def spoil(a: Tensor) -> Tensor:
    """Change what is given, which a node must not."""
    return a.add_(1)


@registry.node(effect=True)
def tell(a: Tensor, name: str = "") -> str:
    """Have an effect."""
    return name


class Watched:
    """A session that notes which nodes it calls."""

    def __init__(self, cache, passes=("share",)):
        self.called = []
        self.session = Session("cpu", "float32", self.listen, passes, each_node=True, cache=cache)

    def listen(self, event):
        if isinstance(event, NodeStarted):
            self.called.append(event.call.name)

    def __call__(self, text, **inputs):
        self.called = []
        return self.session(load_text(text, "graph", registry), **inputs)
