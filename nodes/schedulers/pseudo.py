"""Pseudo numerical methods for diffusion models (PNDM: arXiv:2202.09778)."""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor

from .formulas import Inputs, Solver, adams_bashforth, transfer
from .grids import Grid
from .levels import Level, Settings, estimates

RUNGE_KUTTA = (1 / 6, 1 / 3, 1 / 3, 1 / 6)


class _Call(NamedTuple):
    """One network call: where it asks, and from where to where the sample then goes."""

    time: int
    start: Level
    end: Level


def _runge_kutta_calls(grid: Grid, stride: int, at: Callable[[int], Level]) -> list[_Call]:
    """Ask at the start, twice in the middle and at the end of each of the first three steps."""
    times = [int(time) for time in grid.timesteps]
    if len(times) < 4 or grid.skipped:
        raise ValueError(
            "the Runge-Kutta warm-up (skip_prk_steps false) needs at least 4 steps and no partial "
            f"run, not {len(times)} steps after {grid.skipped}"
        )
    half = stride // 2
    calls = []
    for time, following in pairwise(times[:4]):
        middle, start = following + half, at(time)
        calls += [
            _Call(time, start, at(time - half)),
            _Call(middle, start, at(middle)),
            _Call(middle, start, at(middle - half)),
            _Call(following, start, at(following)),
        ]
    return calls


def pndm(settings: Settings, grid: Grid) -> Solver:
    """Average the last predictions and move along them, after a warm-up of one of two kinds.

    Plain (`skip_prk_steps`): the first step is made twice, then with the mean of its predictions.
    A partial run does the same with its first two calls, as published pictures need it.
    Runge-Kutta: the first three steps ask four times each; arXiv:2202.09778, equation 13.
    Memory: the sample at the start of the step, the last three predictions, newest first, and
    the weighted sum of a Runge-Kutta step.
    """
    times, warm = [int(time) for time in grid.timesteps], 0
    plain, count = settings["skip_prk_steps"], len(times) + grid.skipped
    stride = settings["num_train_timesteps"] // max(count - plain, 1)
    final = grid.ends[-1]

    def at(time: int) -> Level:
        return grid.training[time] if time >= 0 else final

    calls = [_Call(time, at(time), at(time - stride)) for time in times]
    if not plain:
        calls, warm = [*_runge_kutta_calls(grid, stride, at), *calls[3:]], 12
    elif len(calls) > 1:
        calls[1] = _Call(times[1], at(times[1] + stride), at(times[1]))

    def move(i: int, inputs: Inputs) -> tuple[Tensor, ...]:
        kept, *past, total = inputs.memory
        sample, average, remembered = inputs.sample, inputs.prediction, [inputs.prediction, *past]
        if i < warm:
            kept = sample = inputs.sample if i % 4 == 0 else kept
            remembered = past if i % 4 else remembered
            total = RUNGE_KUTTA[i % 4] * inputs.prediction + (total if i % 4 else 0)
            average = total if i % 4 == 3 else average
        elif warm or i != 1:
            average = adams_bashforth(remembered[: 4 if warm else min(max(i, 1), 4)])
            kept = inputs.sample
        else:
            sample, average, remembered = kept, (inputs.prediction + past[0]) / 2, past
        call = calls[i]
        of_sample, of_prediction = estimates(settings, call.start).noise
        noise_estimate = of_sample * sample + of_prediction * average
        moved = transfer(call.start, call.end, sample, noise_estimate)
        return moved, kept, *remembered[:3], total

    asked = [call.time for call in calls]
    return Solver(asked, [at(time) for time in asked], move, memory=5)
