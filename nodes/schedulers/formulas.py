"""The formulas behind all samplers, over vectors: tensors combined with per-row numbers."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, Optional

import torch
from torch import Tensor

from .grids import Grid
from .levels import Level, estimate


class Inputs(NamedTuple):
    """The vectors that a row may combine."""

    sample: Tensor
    prediction: Tensor
    clean: Tensor  # estimate of the clean sample, clipped where the config asks
    noise_estimate: Tensor  # what the sample has besides `clean`
    predicted_noise: Tensor  # the same, whatever was clipped
    noise: Tensor  # fresh, standard normal
    memory: tuple[Tensor, ...]


class Solver(NamedTuple):
    """A sampler on a grid: where each network call is made, and what is done with it."""

    timesteps: Sequence[float]
    levels: Sequence[Level]
    move: Callable[[int, Inputs], tuple[Tensor, ...]]  # row -> next sample, next memory
    memory: int = 0  # slots
    noisy: Sequence[bool] | None = None  # rows that draw fresh noise; None: no row
    log_ranges: Sequence[float] | None = None  # logarithm of the learned range of its deviation


def posterior_spread(start: Level, end: Level) -> float:
    """Return the deviation of the noise that DDPM adds (arXiv:2006.11239, equation 7)."""
    falls = end.ratio < start.ratio
    return end.sigma * math.sqrt(1 - (end.ratio / start.ratio) ** 2) if falls else 0.0


def renoise(end: Level, clean: Tensor, noise_estimate: Tensor, spread: float = 0.0) -> Tensor:
    """Recombine both estimates at the level `end`, leaving out `spread` for fresh noise.

    DDIM: arXiv:2010.02502, equation 12. Every sampler is this line, with estimates of its own.
    """
    return end.alpha * clean + math.sqrt(max(end.sigma**2 - spread**2, 0.0)) * noise_estimate


class Rule(NamedTuple):
    """How a row moves the sample: along an average of estimates, from `start` to `end`.

    Estimates are of the clean sample, of the noise ("epsilon"), or what the network predicts.
    """

    start: Level
    end: Level
    weights: Sequence[float] = (1.0,)  # of the estimates in their average, newest first
    of: str = "sample"  # what is averaged, as a prediction_type
    spread: float = 0.0  # deviation that the noise estimate leaves out for fresh noise
    added: float | None = None  # deviation of the fresh noise, where it is another
    noisy: bool = False  # whether fresh noise is drawn
    again: bool = False  # moves the sample that the row before moved, not what it made of it
    correction: Optional["Rule"] = None  # moves that one first, now that its end is known
    shared: float = 0.0  # how much of the fresh noise (its variance) is that of the row before
    keeps: Sequence[int] = ()  # estimates to remember before all others

    def move(self, sample: Tensor, estimates: Sequence[Tensor], noise: Tensor) -> Tensor:
        """Move a sample along the average of some estimates, newest first."""
        weighted = zip(self.weights, estimates, strict=False)
        mean = torch.stack([weight * each for weight, each in weighted]).sum(dim=0)
        clean, noise_estimate = estimate(self.of, self.start, sample, mean)
        added = self.spread if self.added is None else self.added
        return renoise(self.end, clean, noise_estimate, self.spread) + added * noise


def follow(grid: Grid, rules: Sequence[Rule]) -> Solver:
    """Ask the network on a grid, and move by one rule each time.

    Memory: the sample that the last row moved, the noise added to it, both only where some rule
    needs them, then the last estimates, newest first.
    """
    corrections = [rule.correction for rule in rules if rule.correction]
    keeps_noise = any(rule.shared for rule in rules) or any(rule.noisy for rule in corrections)
    keeps_sample = keeps_noise or any(rule.again or rule.correction for rule in rules)
    slots = keeps_sample + keeps_noise
    reach = max(len(rule.weights) - 1 for rule in (*rules, *corrections))
    remembered = max([reach, *(k for rule in rules for k in rule.keeps)])

    def move(i: int, inputs: Inputs) -> tuple[Tensor, ...]:
        rule, sample, noise = rules[i], inputs.sample, inputs.noise
        kept, past = inputs.memory[:slots], inputs.memory[slots:]
        newest = {"sample": inputs.clean, "epsilon": inputs.noise_estimate}
        estimates = (newest.get(rule.of, inputs.prediction), *past)
        if rule.correction:
            sample = rule.correction.move(kept[0], estimates, kept[-1])
        elif rule.again:
            sample = kept[0]
        if rule.shared:
            noise = math.sqrt(rule.shared) * kept[1] + math.sqrt(1 - rule.shared) * noise
        remember = (*(estimates[k] for k in rule.keeps), *estimates)[:remembered]
        return rule.move(sample, estimates, noise), *(sample, noise)[:slots], *remember

    noisy = [rule.noisy for rule in rules]
    return Solver(grid.timesteps, grid.levels, move, slots + remembered, noisy)


def integrate(nodes: Sequence[float], moments: Sequence[float]) -> list[float]:
    """Weigh values at the nodes so that their polynomial is integrated, given those of u^k."""
    powers = torch.tensor(nodes, dtype=torch.float64) ** torch.arange(len(nodes))[:, None]
    # Where nodes repeat there is no solution: it is not finite, which `make_table` tells.
    return torch.linalg.solve_ex(powers, torch.tensor(moments, dtype=torch.float64)).result.tolist()


def adams_bashforth(nodes: Sequence[float]) -> list[float]:
    """Weigh values at the nodes to average their polynomial over the step ahead, u in [0, 1]."""
    return integrate(nodes, [1 / (k + 1) for k in range(len(nodes))])
