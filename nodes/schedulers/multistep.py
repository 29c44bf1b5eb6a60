"""Multistep samplers: integrate a polynomial through the estimates of earlier steps."""

from collections.abc import Sequence

from torch import Tensor

from .formulas import (
    Inputs,
    Rule,
    Solver,
    adams_bashforth,
    exponential_step,
    integrate,
    transfer,
)
from .grids import Grid
from .levels import Level, Settings

DPM_SLOPES = {"midpoint": "midpoint", "heun": "exact", "logrho": "exact"}


def dpm_rule(settings: Settings) -> Rule:
    """Return the rule behind an `algorithm_type` and a `solver_type` of DPM-Solver or DEIS."""
    algorithm = settings["algorithm_type"]
    return Rule(
        slope=DPM_SLOPES[settings["solver_type"]],
        # The published third order takes half of the quadratic term that DEIS integrates in full.
        curvature=1.0 if algorithm == "deis" else 0.5,
        of_noise=algorithm in ("dpmsolver", "deis"),
        churn=float(algorithm == "sde-dpmsolver++"),
    )


def _orders(settings: Settings, grid: Grid) -> list[int]:
    """Return how many estimates each step uses: few at the start, and where it pays, at the end."""
    count = len(grid.levels)
    orders = [min(i + 1, settings["solver_order"]) for i in range(count)]
    lowered = settings["lower_order_final"] and count + grid.skipped < 15
    if lowered and count > 1:
        orders[-2] = min(orders[-2], 2)
    if lowered or settings.get("euler_at_final") or grid.ends[-1].sigma == 0:
        orders[-1] = 1
    return orders


def dpm_multistep(settings: Settings, grid: Grid) -> Solver:
    """Integrate through the last estimates (DPM-Solver++ 2M, 3M, their SDE forms, DEIS)."""
    rule, orders = dpm_rule(settings), _orders(settings, grid)

    def move(i: int, inputs: Inputs) -> tuple[Tensor, ...]:
        values = (inputs.noise_estimate if rule.of_noise else inputs.clean, *inputs.memory)
        known = [(grid.levels[i - k], values[k]) for k in range(orders[i])]
        sample = exponential_step(
            rule, grid.levels[i], grid.ends[i], inputs.sample, known, inputs.noise
        )
        return sample, *values[: len(inputs.memory)]

    noisy = [rule.churn > 0] * len(grid.levels)
    return Solver(grid.timesteps, grid.levels, move, settings["solver_order"] - 1, noisy)


def _places(settings: Settings, steps: int, end: Level) -> list[int]:
    """Return the place of each call in its group: 1, 2 ... up to the order, then 1 again."""
    order = settings["solver_order"]
    places = [1 + i % order for i in range(steps)]
    if end.sigma == 0 or (settings["lower_order_final"] and steps % order == 0):
        places[-1] = 1
    return places


def dpm_singlestep(settings: Settings, grid: Grid) -> Solver:
    """Restart from the first sample of a group of calls (DPM-Solver++ 2S, 3S: arXiv:2211.01095).

    Memory: the sample at the start of the group, then the last estimates, newest first.
    """
    rule, total = dpm_rule(settings), len(grid.levels) + grid.skipped
    places = _places(settings, total, grid.ends[-1])[grid.skipped :]
    middle_left_out = rule.slope == "midpoint"

    def move(i: int, inputs: Inputs) -> tuple[Tensor, ...]:
        place = min(places[i], i + 1)
        base, *past = inputs.memory
        base = inputs.sample if place == 1 else base
        values = [inputs.noise_estimate if rule.of_noise else inputs.clean, *past]
        used = [*range(place - 1, -1, -1)]
        exact = rule._replace(curvature=1.0)
        if place == 3 and middle_left_out:
            used, exact = [2, 0], exact._replace(slope="exact")
        known = [(grid.levels[i - k], values[k]) for k in used]
        start = grid.levels[i - place + 1]
        sample = exponential_step(exact, start, grid.ends[i], base, known, inputs.noise)
        return sample, base, *values[: len(past)]

    noisy = [rule.churn > 0] * len(grid.levels)
    return Solver(grid.timesteps, grid.levels, move, settings["solver_order"], noisy)


def _predict_and_correct(
    grid: Grid,
    rules: Sequence[Rule],
    ahead: Sequence[int],
    behind: Sequence[int | None],
    remembered: int,
) -> Solver:
    """Correct the last step with the newest estimate, then predict the next.

    Row i steps by `rules[i]` through `ahead[i]` estimates, after making the step before it again
    through `behind[i]` earlier ones and the newest (None: not at all). Memory: the last corrected
    sample, the noise added to it where any is, the last estimates, newest first.
    """
    stochastic, levels = any(rule.churn for rule in rules), grid.levels

    def move(i: int, inputs: Inputs) -> tuple[Tensor, ...]:
        rule, sample = rules[i], inputs.sample
        estimate = inputs.noise_estimate if rule.of_noise else inputs.clean
        base, *past = inputs.memory
        noise = [past.pop(0)] if stochastic else []
        count = behind[i]
        if count is not None:
            known = [(levels[i - 1 - k], past[k]) for k in range(count)]
            known.append((levels[i], estimate))
            sample = exponential_step(rules[i - 1], levels[i - 1], levels[i], base, known, *noise)
        past = [estimate, *past[:-1]]
        known = [(levels[i - k], past[k]) for k in range(ahead[i])]
        moved = exponential_step(rule, levels[i], grid.ends[i], sample, known, inputs.noise)
        return moved, sample, *([inputs.noise] if stochastic else []), *past

    noisy = [stochastic] * len(levels)
    return Solver(grid.timesteps, levels, move, 1 + stochastic + remembered, noisy)


def unipc(settings: Settings, grid: Grid) -> Solver:
    """Predict and correct with as many earlier estimates (UniPC: arXiv:2302.04867)."""
    order, count = settings["solver_order"], len(grid.levels)
    rule = Rule(slope=settings["solver_type"], of_noise=not settings["predict_x0"])
    lowered = settings["lower_order_final"]
    ahead = [min(order, i + 1, count - i if lowered else order) for i in range(count)]
    off = [i - grid.skipped for i in settings["disable_corrector"]]
    corrected = [None if i in off else size for i, size in enumerate(ahead[:-1])]
    return _predict_and_correct(grid, [rule] * count, ahead, [None, *corrected], order)


def sa_solver(settings: Settings, grid: Grid) -> Solver:
    """Predict and correct with fresh noise in the middle of the run (arXiv:2309.05019)."""
    predictor, corrector = settings["predictor_order"], settings["corrector_order"]
    count, lowered = len(grid.levels), settings["lower_order_final"]
    left = [count - i if lowered else count for i in range(count)]
    ahead = [min(predictor, left[i], i + 1) for i in range(count)]
    behind = [min(corrector - 1, left[i], i + 1) for i in range(count - 1)]
    rules = [Rule("bh1", churn=float(200 <= time <= 800)) for time in grid.timesteps]
    remembered = max(predictor, corrector - 1)
    solver = _predict_and_correct(grid, rules, ahead, [None, *behind], remembered)
    return solver._replace(noisy=[True] * count)


def lms(_settings: Settings, grid: Grid) -> Solver:
    """Integrate the noise estimates as a polynomial in sigma / alpha, up to fourth order.

    Linear multistep as in k-diffusion (arXiv:2206.00364, section 3, with Adams-Bashforth steps).
    """

    def move(i: int, inputs: Inputs) -> tuple[Tensor, ...]:
        values = (inputs.noise_estimate, *inputs.memory)
        start, end = grid.levels[i], grid.ends[i]
        stride = end.ratio - start.ratio
        used = range(min(i + 1, 4))
        nodes = [(grid.levels[i - k].ratio - start.ratio) / stride for k in used]
        mean = integrate(nodes, values[: len(used)], [1 / (k + 1) for k in used])
        return transfer(start, end, inputs.sample, mean), *values[:3]

    return Solver(grid.timesteps, grid.levels, move, memory=3)


def ipndm(_settings: Settings, grid: Grid) -> Solver:
    """Average the last noise estimates as if equally spaced (arXiv:2204.13902, appendix H)."""

    def move(i: int, inputs: Inputs) -> tuple[Tensor, ...]:
        values = (inputs.noise_estimate, *inputs.memory)
        mean = adams_bashforth(values[: min(i + 1, 4)])
        return transfer(grid.levels[i], grid.ends[i], inputs.sample, mean), *values[:3]

    return Solver(grid.timesteps, grid.levels, move, memory=3)
