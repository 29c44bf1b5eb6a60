"""Multistep samplers: integrate a polynomial through the estimates of earlier steps."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from .formulas import Inputs, Rule, Solver, adams_bashforth, exponential_step, transfer
from .grids import Grid
from .levels import Settings


def linear_multistep(_settings: Settings, grid: Grid, *, equal: bool = False) -> Solver:
    """Integrate the last four noise estimates as a polynomial in sigma / alpha (LMS).

    arXiv:2206.00364, section 3, with steps of Adams and Bashforth; `equal` takes the steps for
    equally long (IPNDM: arXiv:2204.13902, appendix H). Memory: estimates, newest first.
    """

    def move(i: int, inputs: Inputs) -> tuple[Tensor, ...]:
        values = (inputs.noise_estimate, *inputs.memory)[: i + 1]
        start, end = grid.levels[i], grid.ends[i]
        stride = end.ratio - start.ratio
        nodes = [
            float(-k) if equal else (grid.levels[i - k].ratio - start.ratio) / stride
            for k in range(len(values))
        ]
        mean = adams_bashforth(nodes, values)
        return transfer(start, end, inputs.sample, mean), inputs.noise_estimate, *inputs.memory[:2]

    return Solver(grid.timesteps, grid.levels, move, memory=3)


class _Step(NamedTuple):
    """How one row of an exponential sampler moves."""

    rule: Rule
    used: Sequence[int] = (0,)  # the estimates to integrate, counted back from the newest
    back: int = 0  # the step starts where the row so many before started
    correction: int | None = None


def _exponential(grid: Grid, steps: Sequence[_Step], remembered: int) -> Solver:
    """Step through remembered estimates, from the sample or from an earlier one.

    Memory: the sample that the last step started from, the noise added to it, both only where
    some step needs them, then the last estimates, newest first.
    """
    levels, stochastic = grid.levels, any(step.rule.churn for step in steps)
    corrects = any(step.correction is not None for step in steps)
    rebases = corrects or any(step.back for step in steps)
    slots = rebases + (corrects and stochastic)

    def move(i: int, inputs: Inputs) -> tuple[Tensor, ...]:
        step, sample = steps[i], inputs.sample
        kept, past = inputs.memory[:slots], inputs.memory[slots:]
        estimates = (inputs.noise_estimate if step.rule.of_noise else inputs.clean, *past)
        if step.correction is not None:
            known = [(levels[i - 1 - k], past[k]) for k in range(step.correction)]
            known.append((levels[i], estimates[0]))
            rule, fresh = steps[i - 1].rule, kept[1] if stochastic else None
            sample = exponential_step(rule, levels[i - 1], levels[i], kept[0], known, fresh)
        elif step.back:
            sample = kept[0]
        known = [(levels[i - k], estimates[k]) for k in step.used]
        start = levels[i - step.back]
        moved = exponential_step(step.rule, start, grid.ends[i], sample, known, inputs.noise)
        return moved, *(sample, inputs.noise)[:slots], *estimates[: len(past)]

    return Solver(grid.timesteps, levels, move, slots + remembered, [stochastic] * len(levels))


def _dpm_rule(settings: Settings, curvature: float = 1.0) -> Rule:
    algorithm = settings["algorithm_type"]
    slope = "midpoint" if settings["solver_type"] == "midpoint" else "exact"
    churn = float(algorithm == "sde-dpmsolver++")
    return Rule(slope, curvature, of_noise=algorithm in ("dpmsolver", "deis"), churn=churn)


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
    return _exponential(grid, [_Step(rule, range(used)) for used in orders], order - 1)


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
    return _exponential(grid, steps, order - 1)


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
    return _exponential(grid, steps, order)


def sa_solver(settings: Settings, grid: Grid) -> Solver:
    """Predict and correct with fresh noise in the middle of the run (arXiv:2309.05019)."""
    predictor, corrector = settings["predictor_order"], settings["corrector_order"]
    steps, count = [], len(grid.levels)
    for i, time in enumerate(grid.timesteps):
        left = count - i if settings["lower_order_final"] else count
        rule = Rule("bh1", churn=float(200 <= time <= 800))
        correction = min(corrector - 1, left + 1, i) if i else None
        steps.append(_Step(rule, range(min(predictor, left, i + 1)), correction=correction))
    solver = _exponential(grid, steps, max(predictor, corrector - 1))
    return solver._replace(noisy=[True] * count)
