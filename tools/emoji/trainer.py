"""A training loop that restarts from its last state."""

import copy
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from .muon import Muon, split


@dataclass(frozen=True)
class Recipe:
    """How long and how fast to train."""

    steps: int
    learning_rate: float = 0.02  # of Muon
    others_learning_rate: float = 2e-3  # of AdamW, for what Muon is not made for
    warmup: int = 50
    average: float = 0.999  # how slowly the averaged weights follow


def fit(
    model: nn.Module, loss: Callable[[], Tensor], recipe: Recipe, state_file: Path, minutes: float
) -> tuple[nn.Module, bool]:
    """Train `model` on `loss()` and return the averaged model, and whether all steps were made.

    The state is kept in `state_file` every minute; a call that finds one goes on from there.
    Stops after `minutes` of this call, so that a long training can be made in pieces.
    """
    average = copy.deepcopy(model).eval().requires_grad_(False)
    hidden, others = split(model)
    optimisers = (
        Muon(hidden, recipe.learning_rate),
        torch.optim.AdamW(others, recipe.others_learning_rate, betas=(0.9, 0.99)),
    )
    rates = (recipe.learning_rate, recipe.others_learning_rate)
    first = 0
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        for optimiser, kept in zip(optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(kept)
        torch.set_rng_state(state["random"])
        first = state["step"]

    def save(step: int) -> None:
        state = {
            "model": model.state_dict(),
            "average": average.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in optimisers],
            "random": torch.get_rng_state(),
            "step": step,
        }
        state_file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, state_file.with_suffix(".part"))
        os.replace(state_file.with_suffix(".part"), state_file)

    begin = saved = time.monotonic()
    recent: list[float] = []
    step = first
    while step < recipe.steps and time.monotonic() - begin < 60 * minutes:
        for optimiser, rate in zip(optimisers, rates, strict=True):
            optimiser.param_groups[0]["lr"] = rate * _pace(step, recipe)
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            value = loss()
        model.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser in optimisers:
            optimiser.step()
        step += 1
        _follow(average, model, min(recipe.average, step / (step + 10)))
        recent.append(value.item())
        if step % 100 == 0 or step == recipe.steps:
            rate = (step - first) / (time.monotonic() - begin)
            print(
                f"{step}/{recipe.steps}  loss {sum(recent) / len(recent):.4f}  {rate:.2f} steps/s"
            )
            recent.clear()
        if time.monotonic() - saved > 60:
            save(step)
            saved = time.monotonic()
    save(step)
    return average, step >= recipe.steps


def _pace(step: int, recipe: Recipe) -> float:
    """Rise over the warm-up, then fall along a cosine."""
    rise = min(1.0, (step + 1) / recipe.warmup)
    return rise * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / recipe.steps)))


@torch.no_grad()
def _follow(average: nn.Module, model: nn.Module, keep: float) -> None:
    theirs = list(average.parameters())
    torch._foreach_lerp_(theirs, [ours.detach() for ours in model.parameters()], 1 - keep)
