"""First-order samplers: they differ in how much of the noise is fresh, and in nothing else."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .formulas import Inputs, Solver, posterior_spread, renoise
from .grids import Grid
from .levels import Settings


def _renoising(
    grid: Grid,
    spreads: Sequence[float],
    noisy: Sequence[bool],
    added: Sequence[float] = (),
    jump: Callable[[int, Inputs], Tensor] = lambda _, inputs: inputs.clean,
) -> Solver:
    """Leave out `spreads` of the noise estimate and add as much (or `added`) fresh noise."""

    def move(i: int, inputs: Inputs) -> tuple[Tensor]:
        kept = renoise(grid.ends[i], jump(i, inputs), inputs.noise_estimate, spreads[i])
        return (kept + (added or spreads)[i] * inputs.noise,)

    return Solver(grid.timesteps, grid.levels, move, noisy=noisy)


def _posterior_spreads(grid: Grid) -> list[float]:
    return [posterior_spread(*pair) for pair in zip(grid.levels, grid.ends, strict=True)]


def ddim(settings: Settings, grid: Grid, eta: float | None = None) -> Solver:
    """Go from deterministic (eta 0) to ancestral (eta 1): arXiv:2010.02502, equation 16.

    Euler (arXiv:2206.00364, algorithm 1) and its ancestral form are these two on another grid.
    """
    fresh: float = (settings["eta"] or 0.0) if eta is None else eta
    spreads = [fresh * spread for spread in _posterior_spreads(grid)]
    return _renoising(grid, spreads, [fresh > 0] * len(spreads))


def ddpm(settings: Settings, grid: Grid) -> Solver:
    """Draw from the posterior (arXiv:2006.11239, algorithm 2); no noise at timestep 0.

    The variance is that of the posterior ("fixed_small"), beta ("fixed_large"), or between them
    as the network says ("learned_range": arXiv:2102.09672, equation 15).
    """
    kind, spreads = settings["variance_type"], _posterior_spreads(grid)
    noisy = [time > 0 for time in grid.timesteps]
    pairs = zip(grid.levels, grid.ends, strict=True)
    largest = [math.sqrt(1 - (start.alpha / end.alpha) ** 2) for start, end in pairs]
    smallest = [max(spread, 1e-10) for spread in spreads]
    chosen = largest if kind == "fixed_large" else smallest
    added = [spread * draws for spread, draws in zip(chosen, noisy, strict=True)]
    ranges = [math.log(high / low) for high, low in zip(largest, smallest, strict=True)]
    solver = _renoising(grid, spreads, noisy, added)
    return solver._replace(log_ranges=ranges) if kind == "learned_range" else solver


def flow_euler(settings: Settings, grid: Grid) -> Solver:
    """Follow the velocity, or renoise the clean estimate in full (`stochastic_sampling`)."""
    fresh = settings["stochastic_sampling"]
    return _renoising(grid, [end.sigma * fresh for end in grid.ends], [fresh] * len(grid.ends))


def lcm(settings: Settings, grid: Grid) -> Solver:
    """Jump to the consistency model's clean sample and renoise it in full (arXiv:2310.04378)."""
    data = 0.5  # the standard deviation that consistency models assume of clean samples

    def jump(i: int, inputs: Inputs) -> Tensor:
        scaled = settings["timestep_scaling"] * grid.timesteps[i]
        total = scaled**2 + data**2
        return scaled / math.sqrt(total) * inputs.clean + data**2 / total * inputs.sample

    spreads = [end.sigma for end in grid.ends]
    return _renoising(grid, spreads, [spread > 0 for spread in spreads], jump=jump)


def tcd(settings: Settings, grid: Grid) -> Solver:
    """Jump below the next timestep and noise back up to it (arXiv:2402.19159, algorithm 2).

    `eta` (the paper's gamma) is how far below; at 0, and in the last call, no noise is added.
    """
    gamma = 0.3 if settings["eta"] is None else settings["eta"]
    following = torch.tensor([*grid.timesteps[1:], 0.0])
    # The product in float32 decides a few timesteps.
    below = [grid.training[time] for time in ((1 - gamma) * following).floor().int().tolist()]
    ends = [grid.training[time] for time in following.int().tolist()]
    spreads = [math.sqrt(1 - (e.alpha / b.alpha) ** 2) for e, b in zip(ends, below, strict=True)]
    noisy = [gamma > 0 and time > 0 for time in following.tolist()]
    return _renoising(grid._replace(ends=ends), spreads, noisy)
