"""First-order samplers: recombine the two estimates at the next level, perhaps with fresh noise."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .formulas import Inputs, Solver, posterior_spread, renoise
from .grids import Grid
from .levels import Settings


def _renoising(
    grid: Grid,
    spreads: Sequence[float],
    noisy: Sequence[bool] | None = None,
    added: Sequence[float] | None = None,
) -> Solver:
    """Leave out `spreads` of the noise estimate and add as much (or `added`) fresh noise."""
    added = added or spreads

    def move(i: int, inputs: Inputs) -> tuple[Tensor]:
        kept = renoise(grid.ends[i], inputs.clean, inputs.noise_estimate, spreads[i])
        return (kept + added[i] * inputs.noise,)

    return Solver(grid.timesteps, grid.levels, move, noisy=noisy)


def _spreads(grid: Grid) -> list[float]:
    return [posterior_spread(*pair) for pair in zip(grid.levels, grid.ends, strict=True)]


def euler(_settings: Settings, grid: Grid) -> Solver:
    """Follow the straight line to the next level (arXiv:2206.00364, algorithm 1 without churn)."""
    return _renoising(grid, [0.0] * len(grid.levels))


def euler_ancestral(_settings: Settings, grid: Grid) -> Solver:
    """Draw from the posterior at every step, which is DDIM with eta 1 on Euler's grid."""
    return _renoising(grid, _spreads(grid), [True] * len(grid.levels))


def ddim(settings: Settings, grid: Grid) -> Solver:
    """Go from deterministic (eta 0) to ancestral (eta 1): arXiv:2010.02502, equation 16."""
    eta = settings["eta"] or 0.0
    return _renoising(grid, [eta * s for s in _spreads(grid)], [eta > 0] * len(grid.levels))


def ddpm(settings: Settings, grid: Grid) -> Solver:
    """Draw from the posterior (arXiv:2006.11239, algorithm 2); no noise at timestep 0.

    The variance is that of the posterior ("fixed_small"), beta ("fixed_large"), or between them
    as the network says ("learned_range": arXiv:2102.09672, equation 15).
    """
    kind, spreads = settings["variance_type"], _spreads(grid)
    noisy = [time > 0 for time in grid.timesteps]
    pairs = zip(grid.levels, grid.ends, strict=True)
    largest = [math.sqrt(1 - (start.alpha / end.alpha) ** 2) for start, end in pairs]
    smallest = [max(spread, 1e-10) for spread in spreads]
    added = largest if kind == "fixed_large" else smallest
    added = [spread * draws for spread, draws in zip(added, noisy, strict=True)]
    solver = _renoising(grid, spreads, noisy, added)
    if kind != "learned_range":
        return solver
    bounds = zip(largest, smallest, strict=True)
    return solver._replace(log_ranges=[math.log(high / low) for high, low in bounds])


def flow_euler(settings: Settings, grid: Grid) -> Solver:
    """Follow the velocity, or renoise the clean estimate in full (`stochastic_sampling`)."""
    if not settings["stochastic_sampling"]:
        return euler(settings, grid)
    return _renoising(grid, [end.sigma for end in grid.ends], [True] * len(grid.ends))


def lcm(settings: Settings, grid: Grid) -> Solver:
    """Jump to the consistency model's clean sample and renoise it (arXiv:2310.04378).

    The last call returns it as it is.
    """
    data = 0.5  # the standard deviation that consistency models assume of clean samples
    last = len(grid.levels) - 1

    def move(i: int, inputs: Inputs) -> tuple[Tensor]:
        scaled = settings["timestep_scaling"] * grid.timesteps[i]
        total = scaled**2 + data**2
        clean = scaled / math.sqrt(total) * inputs.clean + data**2 / total * inputs.sample
        if i == last:
            return (clean,)
        return (grid.ends[i].alpha * clean + grid.ends[i].sigma * inputs.noise,)

    noisy = [i < last for i in range(len(grid.levels))]
    return Solver(grid.timesteps, grid.levels, move, noisy=noisy)


def tcd(settings: Settings, grid: Grid) -> Solver:
    """Jump below the next timestep and noise back up to it (arXiv:2402.19159, algorithm 2).

    `eta` (the paper's gamma) is how far below; at 0, and in the last call, no noise is added.
    """
    gamma = 0.3 if settings["eta"] is None else settings["eta"]
    following = [*grid.timesteps[1:], 0.0]
    last = len(grid.levels) - 1

    def move(i: int, inputs: Inputs) -> tuple[Tensor]:
        # The product in float32 decides a few timesteps.
        time = torch.tensor(following[i], dtype=torch.float32)
        below = grid.training[int(((1 - gamma) * time).floor())]
        moved = renoise(below, inputs.clean, inputs.noise_estimate)
        if i == last or gamma == 0:
            return (moved,)
        shrunk = grid.training[int(following[i])].alpha / below.alpha
        return (shrunk * moved + math.sqrt(1 - shrunk**2) * inputs.noise,)

    noisy = [gamma > 0 and i < last for i in range(len(grid.levels))]
    return Solver(grid.timesteps, grid.levels, move, noisy=noisy)
