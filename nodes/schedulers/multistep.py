"""Higher-order samplers: rows that average estimates of this network call and earlier ones."""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor

from .formulas import Inputs, Rule, Solver, adams_bashforth, averaged_step, transfer
from .grids import Grid, timesteps_of
from .levels import Level, Settings, estimates, level_from_ratio


class _Step(NamedTuple):
    """How one row moves."""

    rule: Rule
    used: Sequence[int] = (0,)  # the estimates to average, counted back from the newest
    back: int = 0  # the step starts where the row so many before started
    correction: int | None = None  # earlier estimates that correct the sample with this one first
    shared: float = 0.0  # how much of the fresh noise (its variance) is that of the row before


def _averaging(grid: Grid, steps: Sequence[_Step], remembered: int) -> Solver:
    """Step along averages of remembered estimates, from the sample or from an earlier one.

    Memory: the sample that the last step started from, the noise added to it, both only where
    some step needs them, then the last estimates, newest first.
    """
    levels, noisy = grid.levels, [step.rule.fresh for step in steps]
    corrects = any(step.correction is not None for step in steps)
    rebases = corrects or any(step.back for step in steps)
    keeps_noise = any(noisy) and (corrects or any(step.shared for step in steps))
    slots = rebases + keeps_noise

    def move(i: int, inputs: Inputs) -> tuple[Tensor, ...]:
        step, sample, noise = steps[i], inputs.sample, inputs.noise
        kept, past = inputs.memory[:slots], inputs.memory[slots:]
        values = (inputs.noise_estimate if step.rule.of_noise else inputs.clean, *past)
        if step.correction is not None:
            known = [(levels[i - 1 - k], past[k]) for k in range(step.correction)]
            known = [*known, (levels[i], values[0])]
            rule, fresh = steps[i - 1].rule, kept[1] if keeps_noise else None
            sample = averaged_step(rule, levels[i - 1], levels[i], kept[0], known, fresh)
        elif step.back:
            sample = kept[0]
        if step.shared:
            noise = math.sqrt(step.shared) * kept[1] + math.sqrt(1 - step.shared) * noise
        known = [(levels[i - k], values[k]) for k in step.used]
        moved = averaged_step(step.rule, levels[i - step.back], grid.ends[i], sample, known, noise)
        return moved, *(sample, noise)[:slots], *values[: len(past)]

    return Solver(grid.timesteps, levels, move, slots + remembered, noisy)


def linear_multistep(_settings: Settings, grid: Grid, *, variable: str = "ratio") -> Solver:
    """Average the last four estimates of the noise, as Adams and Bashforth do.

    LMS takes a polynomial in sigma / alpha (arXiv:2206.00364, section 3), IPNDM steps for equally
    long ("index": arXiv:2204.13902, appendix H).
    """
    rule = Rule(of_noise=True, variable=variable)
    return _averaging(grid, [_Step(rule, range(min(i, 3) + 1)) for i in range(len(grid.levels))], 3)


def _asking_twice(grid: Grid, middles: Iterable[tuple[float, Level]]) -> Grid:
    """Ask once more within every step but the last, at these timesteps and levels."""
    rows: list[tuple[float, Level, Level]] = []
    for i, (time, level) in enumerate(middles):
        rows += [(grid.timesteps[i], grid.levels[i], level), (time, level, grid.ends[i])]
    rows.append((grid.timesteps[-1], grid.levels[-1], grid.ends[-1]))
    times, levels, ends = (list(column) for column in zip(*rows, strict=True))
    return grid._replace(timesteps=times, levels=levels, ends=ends)


def heun(settings: Settings, grid: Grid) -> Solver:
    """Average the slopes at both ends of a step (arXiv:2206.00364, algorithm 1 without churn)."""
    grid = _asking_twice(grid, zip(grid.timesteps[1:], grid.levels[1:], strict=True))
    rule, calls = Rule(of_noise=True, variable="ratio"), range(len(grid.levels))
    steps = [_Step(rule, (0, 1), back=1) if call % 2 else _Step(rule) for call in calls]
    if settings["prediction_type"] != "flow_prediction":
        return _averaging(grid, steps, 1)
    # On flow levels sample = clean + sigma * velocity: the velocity is the noise where alpha is 1.
    straight, ends = ([Level(1.0, level.sigma) for level in each] for each in grid[1:3])
    solver = _averaging(grid._replace(levels=straight, ends=ends), steps, 1)

    def move(row: int, inputs: Inputs) -> tuple[Tensor, ...]:
        velocity = inputs.noise_estimate - inputs.clean
        return solver.move(row, inputs._replace(noise_estimate=velocity))

    return solver._replace(levels=grid.levels, move=move)


def dpm_2(_settings: Settings, grid: Grid, *, fresh: str = "none") -> Solver:
    """Go ahead to ask, then all the way from the start (DPM-Solver-2: arXiv:2206.00927).

    Fresh noise may be added by the second call ("ancestral"), or by both, along one Brownian
    motion in sigma / alpha ("brownian": DPM-Solver++ SDE).
    """
    brownian, ancestral = fresh == "brownian", fresh == "ancestral"
    # Halfway in the logarithm; an ancestral step goes further, to end ** 2 / start.
    pairs = pairwise(level.ratio for level in grid.levels)
    middles = [end if ancestral else math.sqrt(start * end) for start, end in pairs]
    times = timesteps_of(middles, grid.training).tolist()
    grid = _asking_twice(grid, zip(times, map(level_from_ratio, middles), strict=True))
    steps: list[_Step] = []
    for call, (level, end) in enumerate(zip(grid.levels, grid.ends, strict=True)):
        back, last = call % 2, call + 1 == len(grid.levels)
        rule = Rule(
            of_noise=not brownian, fresh=not last and (brownian or (ancestral and back == 1))
        )
        first = grid.levels[call - back].ratio
        shared = (first - level.ratio) / (first - end.ratio) if brownian else 0.0
        steps.append(_Step(rule, back=back, shared=shared))
    return _averaging(grid, steps, 0)


def _dpm_rule(settings: Settings, curvature: float = 1.0) -> Rule:
    algorithm = settings["algorithm_type"]
    slope = "midpoint" if settings["solver_type"] == "midpoint" else "exact"
    return Rule(slope, curvature, algorithm in ("dpmsolver", "deis"), algorithm.startswith("sde"))


def dpm_multistep(settings: Settings, grid: Grid) -> Solver:
    """Integrate through the last estimates (DPM-Solver++ 2M, 3M, their SDE forms, DEIS).

    Few at the start and, where it pays, at the end.
    """
    # The published third order takes half of the quadratic term that DEIS integrates in full.
    exact = settings["algorithm_type"] == "deis" or settings.get("exact_third_order")
    rule = _dpm_rule(settings, curvature=1.0 if exact else 0.5)
    count, order = len(grid.levels), settings["solver_order"]
    orders = [min(i + 1, order) for i in range(count)]
    lowered = settings["lower_order_final"] and count + grid.skipped < 15
    if lowered and count > 1:
        orders[-2] = min(orders[-2], 2)
    if lowered or settings.get("euler_at_final") or grid.ends[-1].sigma == 0:
        orders[-1] = 1
    return _averaging(grid, [_Step(rule, range(used)) for used in orders], order - 1)


def dpm_singlestep(settings: Settings, grid: Grid) -> Solver:
    """Restart from the first sample of a group of calls (DPM-Solver++ 2S, 3S: arXiv:2211.01095).

    The places of the calls in a group are 1, 2 ... up to the order, then 1 again.
    """
    rule, order = _dpm_rule(settings), settings["solver_order"]
    total = len(grid.levels) + grid.skipped
    places = [1 + i % order for i in range(total)]
    if grid.ends[-1].sigma == 0 or (settings["lower_order_final"] and total % order == 0):
        places[-1] = 1
    steps: list[_Step] = []
    for i, place in enumerate(places[grid.skipped :]):
        place = min(place, i + 1)
        used, exact = range(place - 1, -1, -1), rule
        if place == 3 and rule.slope == "midpoint":  # leaves out the call in the middle
            used, exact = range(2, -1, -2), rule._replace(slope="exact")
        steps.append(_Step(exact, used, back=place - 1))
    return _averaging(grid, steps, order - 1)


def unipc(settings: Settings, grid: Grid) -> Solver:
    """Predict and correct with as many earlier estimates (UniPC: arXiv:2302.04867)."""
    order, count = settings["solver_order"], len(grid.levels)
    rule = Rule(slope=settings["solver_type"], of_noise=not settings["predict_x0"])
    ahead = [min(order, i + 1) for i in range(count)]
    if settings["lower_order_final"]:
        ahead = [min(used, count - i) for i, used in enumerate(ahead)]
    off = [0, *(i + 1 - grid.skipped for i in settings["disable_corrector"])]
    steps = [
        _Step(rule, range(used), correction=None if i in off else ahead[i - 1])
        for i, used in enumerate(ahead)
    ]
    return _averaging(grid, steps, order)


def sa_solver(settings: Settings, grid: Grid) -> Solver:
    """Predict and correct with fresh noise in the middle of the run (arXiv:2309.05019)."""
    predictor, corrector = settings["predictor_order"], settings["corrector_order"]
    steps, count = [], len(grid.levels)
    for i, time in enumerate(grid.timesteps):
        left = count - i if settings["lower_order_final"] else count
        rule = Rule("bh1", fresh=200 <= time <= 800)
        correction = min(corrector - 1, left + 1, i) if i else None
        steps.append(_Step(rule, range(min(predictor, left, i + 1)), correction=correction))
    solver = _averaging(grid, steps, max(predictor, corrector - 1))
    return solver._replace(noisy=[True] * count)


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
