"""Samplers that call the network twice a step: two rows, the first of which goes ahead to ask."""

import math

from torch import Tensor

from .formulas import Inputs, Solver, posterior_spread, transfer
from .grids import Grid, timestep_of
from .levels import Level, Settings, level_from_ratio


def heun(settings: Settings, grid: Grid) -> Solver:
    """Average the slopes at both ends of a step (arXiv:2206.00364, algorithm 1 without churn).

    The slope is that of sample / alpha over sigma / alpha, on flow levels of the sample over sigma.
    Memory: the sample and the slope at the start of the step.
    """
    flow = settings["prediction_type"] == "flow_prediction"
    asked = [(row + 1) // 2 for row in range(2 * len(grid.levels) - 1)]

    def move(row: int, inputs: Inputs) -> tuple[Tensor, ...]:
        start, end = grid.levels[row // 2], grid.ends[row // 2]
        slope = inputs.noise_estimate - inputs.clean if flow else inputs.noise_estimate
        base, earlier = inputs.memory if row % 2 else (inputs.sample, slope)
        mean = (earlier + slope) / 2
        moved = (
            base + (end.sigma - start.sigma) * mean if flow else transfer(start, end, base, mean)
        )
        return moved, base, earlier

    times = [grid.timesteps[i] for i in asked]
    return Solver(times, [grid.levels[i] for i in asked], move, memory=2)


def _with_middles(grid: Grid, ancestral: bool = False) -> tuple[list[float], list[Level]]:
    """Put a call between the levels, halfway in the logarithm, after every step but the last."""
    times, levels = grid.timesteps[:1], grid.levels[:1]
    for start, end, time in zip(grid.levels, grid.levels[1:], grid.timesteps[1:], strict=False):
        # Without its fresh noise, an ancestral step goes down to end.ratio ** 2 / start.ratio.
        middle = end if ancestral else level_from_ratio(math.sqrt(start.ratio * end.ratio))
        times = [*times, timestep_of(middle.ratio, grid.training), time]
        levels = [*levels, middle, end]
    return times, levels


def _span(row: int, grid: Grid, levels: list[Level]) -> tuple[Level, Level]:
    """Return where a row starts from, and where it goes: ahead to ask, or to the end."""
    ahead = row % 2 == 0 and row + 1 < len(levels)
    return grid.levels[row // 2], levels[row + 1] if ahead else grid.ends[row // 2]


def dpm_2(_settings: Settings, grid: Grid, *, ancestral: bool = False) -> Solver:
    """Go halfway to ask, then all the way from the start (DPM-Solver-2: arXiv:2206.00927).

    `ancestral` steps further down, and up again with fresh noise. Memory: the sample at the start.
    """
    times, levels = _with_middles(grid, ancestral)
    noisy = [ancestral and row % 2 == 1 for row in range(len(levels))]

    def move(row: int, inputs: Inputs) -> tuple[Tensor, ...]:
        start, end = _span(row, grid, levels)
        base = inputs.memory[0] if row % 2 else inputs.sample
        spread = posterior_spread(start, end) if noisy[row] else 0.0
        moved = transfer(start, end, base, inputs.noise_estimate, spread)
        return moved + spread * inputs.noise, base

    return Solver(times, levels, move, memory=1, noisy=noisy)


def dpm_sde(_settings: Settings, grid: Grid) -> Solver:
    """Take two ancestral steps from one sample, to the middle and to the end (DPM-Solver++ SDE).

    The noise of the second is that of the first and a fresh part: increments of one Brownian
    motion in sigma / alpha. Memory: the sample and the noise at the start of the step.
    """
    times, levels = _with_middles(grid)
    noisy = [row + 1 < len(levels) for row in range(len(levels))]

    def move(row: int, inputs: Inputs) -> tuple[Tensor, ...]:
        start, end = _span(row, grid, levels)
        base, noise = inputs.sample, inputs.noise
        if row % 2:
            base, earlier = inputs.memory
            share = (start.ratio - levels[row].ratio) / (start.ratio - end.ratio)
            noise = math.sqrt(share) * earlier + math.sqrt(1 - share) * noise
        spread = posterior_spread(start, end)
        noise_estimate = (base - start.alpha * inputs.clean) / start.sigma
        return transfer(start, end, base, noise_estimate, spread) + spread * noise, base, noise

    return Solver(times, levels, move, memory=2, noisy=noisy)
