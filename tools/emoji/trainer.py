"""A training loop that restarts from its last state."""

import copy
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from nodes.schedulers import make_table

from .muon import Muon, split


@dataclass(frozen=True)
class Recipe:
    """How long and how fast to train."""

    steps: int
    learning_rate: float = 0.02  # of Muon
    others_learning_rate: float = 2e-3  # of AdamW, for what Muon is not made for
    warmup: int = 50
    average: float = 0.999  # how slowly the averaged weights follow


class Training:
    """A model in training, its averaged twin and its optimisers: all that a restart needs."""

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        self.model = model
        self.average = copy.deepcopy(model).eval().requires_grad_(False)
        self.recipe = recipe
        self.step = 0
        hidden, others = split(model)
        self.optimisers = (
            Muon(hidden, recipe.learning_rate),
            torch.optim.AdamW(others, recipe.others_learning_rate, betas=(0.9, 0.99)),
        )
        self.rates = (recipe.learning_rate, recipe.others_learning_rate)

    def advance(self, loss: Callable[[], Tensor]) -> float:
        """Make one step and give the loss."""
        for optimiser, rate in zip(self.optimisers, self.rates, strict=True):
            optimiser.param_groups[0]["lr"] = rate * _pace(self.step, self.recipe)
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            value = loss()
        self.model.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
        self.step += 1
        _follow(self.average, self.model, min(self.recipe.average, self.step / (self.step + 10)))
        return value.item()

    def save(self, path: Path) -> None:
        """Write the state; a stop in between leaves the previous one."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "random": torch.get_rng_state(),
            "step": self.step,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, path.with_suffix(".part"))
        os.replace(path.with_suffix(".part"), path)

    def restore(self, path: Path) -> None:
        """Go back to a written state."""
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        for optimiser, kept in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(kept)
        torch.set_rng_state(state["random"])
        self.step = state["step"]


def fit(
    model: nn.Module, loss: Callable[[], Tensor], recipe: Recipe, state_file: Path, minutes: float
) -> None:
    """Train `model` on `loss()`; the state is kept in `state_file` every minute and at the end.

    A call that finds a state goes on from there; it stops after `minutes`, so that a long training
    can be made in pieces.
    """
    training = Training(model, recipe)
    if state_file.exists():
        training.restore(state_file)
    first = training.step
    begin = saved = time.monotonic()
    recent: list[float] = []
    while training.step < recipe.steps and time.monotonic() - begin < 60 * minutes:
        recent.append(training.advance(loss))
        if training.step % 100 == 0 or training.step == recipe.steps:
            rate = (training.step - first) / (time.monotonic() - begin)
            mean = sum(recent) / len(recent)
            print(f"{training.step}/{recipe.steps}  loss {mean:.4f}  {rate:.2f} steps/s")
            recent.clear()
        if time.monotonic() - saved > 60:
            training.save(state_file)
            saved = time.monotonic()
    training.save(state_file)


def noise_levels(scheduler: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Give the shares of signal and of noise at every timestep, those that samplers will use."""
    count = scheduler["num_train_timesteps"]
    table = make_table(scheduler, "auto", count)  # from the noisiest timestep to the first
    return table.alphas.flip(0).float(), table.sigmas.flip(0).float()


def _pace(step: int, recipe: Recipe) -> float:
    """Rise over the warm-up, then fall along a cosine."""
    rise = min(1.0, (step + 1) / recipe.warmup)
    return rise * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / recipe.steps)))


@torch.no_grad()
def _follow(average: nn.Module, model: nn.Module, keep: float) -> None:
    for theirs, ours in zip(average.parameters(), model.parameters(), strict=True):
        theirs.lerp_(ours, 1 - keep)
