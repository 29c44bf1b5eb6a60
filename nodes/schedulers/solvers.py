"""The samplers: for every call of the network, by which rule it moves the sample."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain, pairwise

import torch
from torch import Tensor

from .formulas import (
    Inputs,
    Rule,
    Solver,
    adams_bashforth,
    follow,
    integrate,
    posterior_spread,
    renoise,
)
from .grids import Grid, timesteps_of
from .levels import Level, Settings, level_from_ratio

MakeRule = Callable[[Level, Level, Sequence[Level]], Rule]  # start, end, levels of estimates


def ddim(settings: Settings, grid: Grid) -> Solver:
    """Go from deterministic (eta 0) to ancestral (eta 1): arXiv:2010.02502, equation 16.

    Euler (arXiv:2206.00364, algorithm 1) and its ancestral form are these two on another grid.
    """
    eta = settings["eta"]
    spreads = [eta * posterior_spread(*pair) for pair in zip(grid.levels, grid.ends, strict=True)]

    def move(i: int, inputs: Inputs) -> tuple[Tensor]:
        kept = renoise(grid.ends[i], inputs.clean, inputs.predicted_noise, spreads[i])
        return (kept + spreads[i] * inputs.noise,)

    return Solver(grid.timesteps, grid.levels, move, noisy=[eta > 0] * len(spreads))


def ddpm(settings: Settings, grid: Grid) -> Solver:
    """Draw from the posterior (arXiv:2006.11239, algorithm 2); no noise at timestep 0.

    The variance is that of the posterior ("fixed_small"), beta ("fixed_large"), or between them
    as the network says ("learned_range": arXiv:2102.09672, equation 15).
    """
    kind, rules, ranges = settings["variance_type"], [], []
    for time, start, end in zip(grid.timesteps, grid.levels, grid.ends, strict=True):
        spread, noisy = posterior_spread(start, end), time > 0
        smallest, largest = max(spread, 1e-10), math.sqrt(1 - (start.alpha / end.alpha) ** 2)
        added = noisy * (largest if kind == "fixed_large" else smallest)
        rules.append(Rule(start, end, spread=spread, added=added, noisy=noisy))
        ranges.append(math.log(largest / smallest))
    solver = follow(grid, rules)
    return solver._replace(log_ranges=ranges) if kind == "learned_range" else solver


def flow_euler(settings: Settings, grid: Grid) -> Solver:
    """Follow the velocity, or renoise the clean estimate in full (`stochastic_sampling`)."""
    fresh, rule = settings["stochastic_sampling"], partial(Rule, of="flow_prediction")
    steps = zip(grid.levels, grid.ends, strict=True)
    rules = [rule(start, end, spread=end.sigma * fresh, noisy=fresh) for start, end in steps]
    return follow(grid, rules)


def lcm(settings: Settings, grid: Grid) -> Solver:
    """Jump to the consistency model's clean sample and renoise it in full (arXiv:2310.04378)."""
    data = 0.5  # the standard deviation that consistency models assume of clean samples

    def move(i: int, inputs: Inputs) -> tuple[Tensor]:
        scaled, end = settings["timestep_scaling"] * grid.timesteps[i], grid.ends[i]
        total = scaled**2 + data**2
        clean = scaled / math.sqrt(total) * inputs.clean + data**2 / total * inputs.sample
        return (end.alpha * clean + end.sigma * inputs.noise,)

    return Solver(grid.timesteps, grid.levels, move, noisy=[end.sigma > 0 for end in grid.ends])


def tcd(settings: Settings, grid: Grid) -> Solver:
    """Jump below the next timestep and noise back up to it (arXiv:2402.19159, algorithm 2).

    `eta` (the paper's gamma) is how far below; at 0, and in the last call, no noise is added.
    """
    gamma = settings["eta"]
    following, rules = torch.tensor([*grid.timesteps[1:], 0.0]), []
    # The product in float32 decides a few timesteps.
    below = ((1 - gamma) * following).floor().int().tolist()
    for start, time, low in zip(grid.levels, following.int().tolist(), below, strict=True):
        end = grid.training[time]
        spread = math.sqrt(1 - (end.alpha / grid.training[low].alpha) ** 2)
        rules.append(Rule(start, end, spread=spread, noisy=gamma > 0 and time > 0))
    return follow(grid, rules)


def _multistep(
    grid: Grid, make_rule: MakeRule, orders: Sequence[int], corrections: Sequence[int] = ()
) -> Solver:
    """Average so many estimates in each row, and so many to correct the sample before (0: none)."""
    rules: list[Rule] = []
    for i, (start, end) in enumerate(zip(grid.levels, grid.ends, strict=True)):
        known = grid.levels[i::-1]  # newest first
        rule = make_rule(start, end, known[: orders[i]])
        if corrections and corrections[i]:
            last = make_rule(known[1], start, known[: corrections[i]])
            rule = rule._replace(correction=last)
        rules.append(rule)
    return follow(grid, rules)


def _orders(count: int, most: int, *, taper: bool = False) -> list[int]:
    """Use as many estimates as there are; if they `taper`, no more than there are steps left."""
    return [min(most, i + 1, count - i if taper else most) for i in range(count)]


def linear_multistep(_settings: Settings, grid: Grid, *, even: bool = False) -> Solver:
    """Average the last four estimates of the noise, as Adams and Bashforth do.

    LMS takes a polynomial in sigma / alpha (arXiv:2206.00364, section 3), IPNDM steps for equally
    long (`even`: arXiv:2204.13902, appendix H).
    """

    def make_rule(start: Level, end: Level, known: Sequence[Level]) -> Rule:
        nodes = [-float(k) for k in range(len(known))]
        if not even:
            nodes = [(each.ratio - start.ratio) / (end.ratio - start.ratio) for each in known]
        # Pure noise has no clean part to divide out; there the estimate is the sample itself.
        start = start._replace(alpha=max(start.alpha, 1e-8))
        return Rule(start, end, adams_bashforth(nodes), of="epsilon")

    return _multistep(grid, make_rule, _orders(len(grid.levels), 4))


def exponential_rule(
    settings: Settings, start: Level, end: Level, known: Sequence[Level], *, fresh: bool = False
) -> Rule:
    """Average estimates at the levels `known` over a polynomial in lambda.

    DPM-Solver: arXiv:2206.00927; DPM-Solver++, with its SDE forms (fresh noise): arXiv:2211.01095;
    DEIS: arXiv:2204.13902; UniPC: arXiv:2302.04867.
    """
    algorithm, slope = settings.get("algorithm_type", ""), settings.get("solver_type", "bh1")
    of_noise = algorithm in ("dpmsolver", "deis") or settings.get("predict_x0") is False
    fresh = fresh or algorithm.startswith("sde")
    rule = Rule(start, end, of="epsilon" if of_noise else "sample", noisy=fresh)
    rule = rule._replace(spread=posterior_spread(start, end) if fresh else 0.0)
    if len(known) == 1 or math.isclose(start.ratio, end.ratio):  # grids may repeat a last level
        return rule
    h = end.half_log_snr - start.half_log_snr
    nodes = [(level.half_log_snr - start.half_log_snr) / h for level in known]
    reach = -h if of_noise else (1 + fresh) * h
    moments = [-math.expm1(-reach)]  # the integrals of reach * exp(-reach * (1 - u)) * u^k
    for k in range(1, len(known)):
        moments.append(1 - k * moments[-1] / reach)
    # Published forms with two estimates halve the constant's weight, or the step, for the slope's;
    # the published third order takes half of the quadratic term.
    if len(known) == 2 and slope in ("midpoint", "bh2", "bh1"):
        moments[1] = (reach if slope == "bh1" else moments[0]) / 2
    if len(known) == 3 and settings.get("exact_third_order") is False:
        moments[2] /= 2
    return rule._replace(weights=integrate(nodes, [each / moments[0] for each in moments]))


def dpm_multistep(settings: Settings, grid: Grid) -> Solver:
    """Integrate through the last estimates (DPM-Solver++ 2M, 3M, their SDE forms, DEIS).

    Few at the start and, where it pays, at the end.
    """
    count = len(grid.levels)
    lowered = settings["lower_order_final"] and count + grid.skipped < 15
    orders = _orders(count, settings["solver_order"], taper=lowered)
    if settings.get("euler_at_final") or grid.ends[-1].sigma == 0:
        orders[-1] = 1
    return _multistep(grid, partial(exponential_rule, settings), orders)


def unipc(settings: Settings, grid: Grid) -> Solver:
    """Predict and correct with as many earlier estimates (UniPC: arXiv:2302.04867)."""
    count, off = len(grid.levels), [i - grid.skipped for i in settings["disable_corrector"]]
    orders = _orders(count, settings["solver_order"], taper=settings["lower_order_final"])
    corrections = [0, *(0 if i in off else order + 1 for i, order in enumerate(orders[:-1]))]
    return _multistep(grid, partial(exponential_rule, settings), orders, corrections)


def sa_solver(settings: Settings, grid: Grid) -> Solver:
    """Predict and correct with fresh noise in the middle of the run (arXiv:2309.05019)."""
    count, taper = len(grid.levels), settings["lower_order_final"]
    pairs = zip(grid.levels, grid.timesteps, strict=True)
    fresh = {level: 200 <= time <= 800 for level, time in pairs}

    def make_rule(start: Level, end: Level, known: Sequence[Level]) -> Rule:
        return exponential_rule(settings, start, end, known, fresh=fresh[start])

    orders = _orders(count, settings["predictor_order"], taper=taper)
    earlier = _orders(count, settings["corrector_order"] - 1, taper=taper)
    corrections = [0, *(order + 1 for order in earlier[:-1])]
    return _multistep(grid, make_rule, orders, corrections)._replace(noisy=[True] * count)


def dpm_singlestep(settings: Settings, grid: Grid) -> Solver:
    """Restart from the first sample of a group of calls (DPM-Solver++ 2S, 3S: arXiv:2211.01095).

    The places of the calls in a group are 1, 2 ... up to the order, then 1 again.
    """
    order, total = settings["solver_order"], len(grid.levels) + grid.skipped
    places = [1 + i % order for i in range(total)]
    if grid.ends[-1].sigma == 0 or (settings["lower_order_final"] and total % order == 0):
        places[-1] = 1
    rules: list[Rule] = []
    for i, place in enumerate(places[grid.skipped :]):
        place = min(place, i + 1)
        step, known = (grid.levels[i - place + 1], grid.ends[i]), grid.levels[i::-1][:place]
        rule = exponential_rule(settings, *step, known)
        if place == 3 and settings["solver_type"] == "midpoint":  # without the call in the middle
            exact = exponential_rule({**settings, "solver_type": "heun"}, *step, known[::2])
            rule = rule._replace(weights=(exact.weights[0], 0.0, exact.weights[1]))
        rules.append(rule._replace(again=place > 1))
    return follow(grid, rules)


def _asking_twice(grid: Grid, times: Sequence[float], middles: Sequence[Level]) -> Grid:
    """Ask once more within every step but the last, at these timesteps and levels."""
    timesteps = [*chain(*zip(grid.timesteps, times, strict=False)), grid.timesteps[-1]]
    levels = [*chain(*zip(grid.levels, middles, strict=False)), grid.levels[-1]]
    ends = [*chain(*zip(middles, grid.ends, strict=False)), grid.ends[-1]]
    return grid._replace(timesteps=timesteps, levels=levels, ends=ends)


def heun(settings: Settings, grid: Grid) -> Solver:
    """Average the slopes at both ends of a step (arXiv:2206.00364, algorithm 1 without churn)."""
    grid = _asking_twice(grid, grid.timesteps[1:], grid.levels[1:])
    flow = settings["prediction_type"] == "flow_prediction"
    of, rules = "flow_prediction" if flow else "epsilon", []
    for call, end in enumerate(grid.ends):
        start, weights = grid.levels[call - call % 2], (0.5, 0.5) if call % 2 else (1.0,)
        rules.append(Rule(start, end, weights, of=of, again=call % 2 == 1))
    return follow(grid, rules)


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
    grid = _asking_twice(grid, times, [level_from_ratio(middle) for middle in middles])
    of, last = "sample" if brownian else "epsilon", len(grid.levels) - 1
    rules: list[Rule] = []
    for call, (level, end) in enumerate(zip(grid.levels, grid.ends, strict=True)):
        again, start = call % 2 == 1, grid.levels[call - call % 2]
        noisy = call != last and (brownian or (ancestral and again))
        spread = posterior_spread(start, end) if noisy else 0.0
        shared = (start.ratio - level.ratio) / (start.ratio - end.ratio) if brownian else 0.0
        rule = Rule(start, end, of=of, spread=spread, noisy=noisy, again=again, shared=shared)
        rules.append(rule)
    return follow(grid, rules)


def pndm(settings: Settings, grid: Grid) -> Solver:
    """Average the last predictions and move along them, after a warm-up (PNDM: arXiv:2202.09778).

    A plain warm-up (`skip_prk_steps`) makes the first step twice, then with the mean of its
    predictions; a partial run does the same with its first two calls, as published pictures need
    it. The other asks four times in each of the first three steps (equation 13, Runge-Kutta).
    """
    times, plain = [int(time) for time in grid.timesteps], settings["skip_prk_steps"]
    stride = settings["num_train_timesteps"] // max(len(times) + grid.skipped - plain, 1)
    rule = partial(Rule, of=settings["prediction_type"])

    def at(time: int) -> Level:
        return grid.training[time] if time >= 0 else grid.ends[-1]

    def along(time: int, order: int) -> Rule:
        return rule(at(time), at(time - stride), adams_bashforth([-float(k) for k in range(order)]))

    if plain:
        rules = [along(time, min(max(i, 1), 4)) for i, time in enumerate(times)]
        for time in times[1:2]:
            twice = rule(at(time + stride), at(time), (0.5, 0.5), again=True)
            rules[1] = twice._replace(keeps=(1,))  # forgets its own prediction
        return follow(grid, rules)
    if len(times) < 4 or grid.skipped:
        raise ValueError(
            "the Runge-Kutta warm-up (skip_prk_steps false) needs at least 4 steps and no partial "
            f"run, not {len(times)} steps after {grid.skipped}"
        )
    asked, rules = [], []
    for step, (time, following) in enumerate(pairwise(times[:4])):
        middle, start = following + stride // 2, at(time)
        asked += [time, middle, middle, following]
        rules += [
            rule(start, at(time - stride // 2)),
            rule(start, at(middle), again=True),
            rule(start, at(middle - stride // 2), again=True),
            # Of the four predictions, the steps to come average the first.
            rule(start, at(following), (1 / 6, 1 / 3, 1 / 3, 1 / 6), again=True,
                 keeps=range(3, 4 + step)),
        ]  # fmt: skip
    asked, rules = [*asked, *times[3:]], [*rules, *(along(time, 4) for time in times[3:])]
    levels = [at(time) for time in asked]
    return follow(grid._replace(timesteps=[*map(float, asked)], levels=levels), rules)
