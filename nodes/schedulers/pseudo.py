"""Pseudo numerical methods for diffusion models (PNDM: arXiv:2202.09778)."""

from itertools import pairwise
from typing import NamedTuple

from torch import Tensor

from .formulas import Inputs, Solver, adams_bashforth, transfer
from .grids import Grid
from .levels import Level, Settings, estimates


class _Call(NamedTuple):
    """One network call: where it asks, from and to where the sample goes, by which average."""

    time: int
    start: Level
    end: Level
    used: int = 1  # predictions to average, newest first; 0: the sum of a Runge-Kutta step
    share: float = 0.0  # of this prediction in that sum
    again: bool = False  # go from the sample at the start of the step, and forget the prediction


def pndm(settings: Settings, grid: Grid) -> Solver:
    """Average the last predictions and move along them, after a warm-up (PNDM: arXiv:2202.09778).

    Memory: the sample at the start of the step, the last three predictions, newest first, and
    for a Runge-Kutta step its weighted sum.
    """
    calls, slots = _calls(settings, grid), 4 if settings["skip_prk_steps"] else 5

    def move(i: int, inputs: Inputs) -> tuple[Tensor, ...]:
        call, past = calls[i], inputs.memory[1:4]
        values = [inputs.prediction, *past]
        sample = inputs.memory[0] if call.again else inputs.sample
        total = call.share * inputs.prediction + (sum(inputs.memory[4:]) if call.again else 0)
        # Made again, a step has its newest prediction from its end, otherwise from its start.
        nodes = [call.again - k for k in range(call.used)]
        average = adams_bashforth(nodes, values[: call.used]) if call.used else total
        of_sample, of_prediction = estimates(settings, call.start).noise
        noise_estimate = of_sample * sample + of_prediction * average
        moved = transfer(call.start, call.end, sample, noise_estimate)
        return (moved, sample, *(past if call.again else values[:3]), total)[: 1 + slots]

    asked = [grid.training[call.time] for call in calls]
    return Solver([float(call.time) for call in calls], asked, move, memory=slots)


def _calls(settings: Settings, grid: Grid) -> list[_Call]:
    """Lay out the calls of a warm-up of one of two kinds, and of the steps behind it.

    Plain (`skip_prk_steps`): the first step is made twice, then with the mean of its predictions;
    a partial run does the same with its first two calls, as published pictures need it.
    Runge-Kutta: the first three steps ask four times each (arXiv:2202.09778, equation 13).
    """
    times, plain = [int(time) for time in grid.timesteps], settings["skip_prk_steps"]
    stride = settings["num_train_timesteps"] // max(len(times) + grid.skipped - plain, 1)

    def at(time: int) -> Level:
        return grid.training[time] if time >= 0 else grid.ends[-1]

    calls = [_Call(t, at(t), at(t - stride), min(max(i, 1), 4)) for i, t in enumerate(times)]
    if plain:
        doubled = [_Call(t, at(t + stride), at(t), 2, again=True) for t in times[1:2]]
        return [*calls[:1], *doubled, *calls[2:]]
    if len(times) < 4 or grid.skipped:
        raise ValueError(
            "the Runge-Kutta warm-up (skip_prk_steps false) needs at least 4 steps and no partial "
            f"run, not {len(times)} steps after {grid.skipped}"
        )
    warm: list[_Call] = []
    for time, following in pairwise(times[:4]):
        middle = following + stride // 2
        warm += [
            _Call(time, at(time), at(time - stride // 2), 1, 1 / 6),
            _Call(middle, at(time), at(middle), 1, 1 / 3, again=True),
            _Call(middle, at(time), at(middle - stride // 2), 1, 1 / 3, again=True),
            _Call(following, at(time), at(following), 0, 1 / 6, again=True),
        ]
    return [*warm, *(call._replace(used=4) for call in calls[3:])]
