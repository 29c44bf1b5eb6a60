"""Grids: at which timesteps and noise levels the network is asked."""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch

from .levels import (
    CLEAN,
    Level,
    Settings,
    cumulative_alphas,
    level_from_cumulative,
    level_from_ratio,
)

# What a squared alpha of zero becomes where sigma / alpha must stay finite.
SMALLEST_CUMULATIVE = 2.0**-24


class Grid(NamedTuple):
    """The steps of a run: what the network is told, where each step starts and ends."""

    timesteps: list[float]
    levels: list[Level]
    ends: list[Level]
    training: list[Level]  # the level of every training timestep
    initial_scale: float = 1.0  # first sample = initial_scale * noise
    skipped: int = 0  # steps left out before the first, in a partial run

    def skip(self, steps: int) -> "Grid":
        """Leave out the first steps."""
        return self._replace(
            timesteps=self.timesteps[steps:],
            levels=self.levels[steps:],
            ends=self.ends[steps:],
            skipped=steps,
        )


def spaced_timesteps(settings: Settings, steps: int, *, spare: bool, whole: bool) -> list[float]:
    """Space `steps` timesteps over the training grid, descending (arXiv:2305.08891, table 2).

    `spare` lays one point more and drops the last; `whole` rounds half to even. The products
    are formed as numpy forms them, since ties decide some timesteps. Raises ValueError when a
    timestep falls off the training grid.
    """
    count = settings["num_train_timesteps"]
    spacing = settings["timestep_spacing"]
    points = steps + spare
    first = count - clipped_timesteps(settings)
    if settings["timesteps"] is not None:
        times = [float(time) for time in settings["timesteps"]]
    elif spacing == "linspace":
        stride = (first - 1) / max(points - 1, 1)
        times = [i * stride for i in reversed(range(points))]
        times[0] = float(first - 1) if points > 1 else 0.0
    elif spacing == "leading":
        times = [float(i * (first // points)) for i in reversed(range(points))]
    else:
        stride = (first - count / steps) - first
        times = [float(round(first + i * stride) - 1) for i in range(steps)]
    times = times[:steps]
    if spacing == "leading" and settings["timesteps"] is None:
        times = [time + settings["steps_offset"] for time in times]
    if whole:
        times = [float(round(time)) for time in times]
    if times[0] > count - 1 or times[-1] < 0:
        raise ValueError(
            f"timestep {times[0] if times[-1] >= 0 else times[-1]:g} lies outside the training grid "
            f"0 ... {count - 1}: {steps} steps with timestep_spacing {spacing!r} and steps_offset "
            f"{settings['steps_offset']} do not fit"
        )
    return times


def explicit_steps(settings: Settings) -> int:
    """Return how many steps explicit timesteps or sigmas make, 0 without any; check them."""
    count = 0
    for what in ("timesteps", "sigmas"):
        values = settings[what]
        if values is None:
            continue
        if count or respacing(settings):
            raise ValueError("give only one of timesteps, sigmas and a use_..._sigmas respacing")
        # Sigmas over the training table end where the last step does.
        count = len(values) - ("interpolation_type" in settings and what == "sigmas")
        if count < 1 or any(low >= high for high, low in pairwise(values)):
            raise ValueError(f"{what} must be strictly decreasing, with a step at least: {values}")
    return count


def clipped_timesteps(settings: Settings) -> int:
    """Count the noisiest timesteps that `lambda_min_clipped` leaves out."""
    lowest = settings.get("lambda_min_clipped", -math.inf)
    if lowest == -math.inf:
        return 0
    return sum(-math.log(ratio) < lowest for ratio in training_ratios(settings))


def check_steps(settings: Settings, steps: int) -> None:
    """Refuse a number of steps that the training grid cannot hold, with a ValueError."""
    count = settings["num_train_timesteps"]
    if not 1 <= steps <= count:
        raise ValueError(f"steps must be between 1 and {count} (num_train_timesteps), not {steps}")


def _training_levels(settings: Settings) -> list[Level]:
    return [level_from_cumulative(value) for value in cumulative_alphas(settings)]


def next_grid(settings: Settings, steps: int) -> Grid:
    """Lay whole timesteps, each step ending where the next one starts (DDPM)."""
    training = _training_levels(settings)
    times = spaced_timesteps(settings, steps, spare=False, whole=True)
    levels = [training[int(time)] for time in times]
    return Grid(times, levels, [*levels[1:], CLEAN], training)


def stride_grid(settings: Settings, steps: int) -> Grid:
    """Lay whole timesteps, each step going down by T // steps whatever the spacing (DDIM, PNDM)."""
    training = _training_levels(settings)
    times = spaced_timesteps(settings, steps, spare=False, whole=True)
    final = CLEAN if settings["set_alpha_to_one"] else training[0]
    stride = settings["num_train_timesteps"] // steps
    ends = [training[int(time) - stride] if time >= stride else final for time in times]
    return Grid(times, [training[int(time)] for time in times], ends, training)


def training_ratios(settings: Settings) -> list[float]:
    """Return sigma / alpha of every training timestep in float32, ascending and finite."""
    cumulative = torch.tensor(cumulative_alphas(settings), dtype=torch.float32)
    if settings.get("rescale_betas_zero_snr"):
        cumulative[-1] = SMALLEST_CUMULATIVE
    return ((1 - cumulative) / cumulative).sqrt().double().tolist()


def _karras(highest: float, lowest: float, steps: int, rho: float = 7.0) -> list[float]:
    high, low = highest ** (1 / rho), lowest ** (1 / rho)
    return [(high + u * (low - high)) ** rho for u in _ramp(steps)]


def _exponential(highest: float, lowest: float, steps: int) -> list[float]:
    high, low = math.log(highest), math.log(lowest)
    return [math.exp(high + u * (low - high)) for u in _ramp(steps)]


def _beta(highest: float, lowest: float, steps: int) -> list[float]:
    return [lowest + beta_quantile(1 - u) * (highest - lowest) for u in _ramp(steps)]


def _ramp(steps: int) -> list[float]:
    return [i / max(steps - 1, 1) for i in range(steps)]


def beta_quantile(probability: float, shape: float = 0.6) -> float:
    """Return the quantile of the symmetric Beta(shape, shape) distribution."""
    if probability > 0.5:
        return 1 - beta_quantile(1 - probability, shape)
    whole = math.gamma(shape) ** 2 / math.gamma(2 * shape)
    low, high = 0.0, 0.5
    for _ in range(60):
        middle = (low + high) / 2
        term, total = 1.0, 0.0
        for n in range(60):  # the power series of the incomplete beta function, ratio <= 1/2
            total += term / (shape + n)
            term *= middle * (n + 1 - shape) / (n + 1)
        below = middle**shape * total / whole < probability
        low, high = (middle, high) if below else (low, middle)
    return (low + high) / 2


# How levels may be laid between the highest and the lowest sigma / alpha: Karras
# (arXiv:2206.00364, equation 5), evenly in the logarithm (twice, since checkpoints know it by
# two names), and by quantiles of a Beta distribution (arXiv:2407.12173).
RESPACINGS: dict[str, Callable[[float, float, int], list[float]]] = {
    "karras": _karras,
    "exponential": _exponential,
    "lu": _exponential,
    "beta": _beta,
}
FLAGS = {
    "use_karras_sigmas": "karras",
    "use_lu_lambdas": "lu",
    "use_exponential_sigmas": "exponential",
    "use_beta_sigmas": "beta",
}


def respacing(settings: Settings) -> str | None:
    """Return the one respacing that the settings ask for; two at once are a ValueError."""
    asked = [flag for flag in FLAGS if settings.get(flag)]
    if len(asked) > 1:
        raise ValueError(f"only one of {', '.join(FLAGS)} may be true, found {' and '.join(asked)}")
    return FLAGS[asked[0]] if asked else None


def interpolate(time: float, values: Sequence[float]) -> float:
    """Read a table at a fractional index, linearly."""
    low = min(int(time), len(values) - 2)
    return values[low] + (time - low) * (values[low + 1] - values[low])


def timestep_of(ratio: float, ratios: Sequence[float]) -> float:
    """Return the timestep whose level is `ratio`, linear in its logarithm, within the table."""
    # Logarithms of the table in float32: where timesteps are cut to whole ones, noise decides.
    logs = torch.tensor(ratios, dtype=torch.float32).log().double().tolist()
    log = math.log(ratio)
    low = min(max(bisect_right(logs, log) - 1, 0), len(logs) - 2)
    weight = (logs[low] - log) / (logs[low] - logs[low + 1])
    return low + min(max(weight, 0.0), 1.0)


def ratio_grid(
    settings: Settings,
    steps: int,
    *,
    whole: bool,
    round_karras: bool,
    end_in_own_scale: bool = False,
) -> Grid:
    """Lay timesteps, read sigma / alpha off the training table, and respace if asked.

    `whole` marks the multistep families: whole timesteps, one spare point, respacing over the
    full training range; the others keep fractional timesteps and respace within their grid.
    `end_in_own_scale` hands a last sample that is not clean over as clean + ratio * noise.
    """
    table = training_ratios(settings)
    times = spaced_timesteps(settings, steps, spare=whole, whole=whole)
    ratios = [interpolate(time, table) for time in times]
    kind = respacing(settings)
    end = 0.0 if settings["final_sigmas_type"] == "zero" else table[0]
    if settings["sigmas"] is not None:
        *ratios, end = settings["sigmas"]
        times = [timestep_of(ratio, table) for ratio in ratios]
    elif kind:
        ends = (table[-1], table[0]) if whole else (ratios[0], ratios[-1])
        highest = settings.get("sigma_max") or ends[0]
        lowest = settings.get("sigma_min") or ends[1]
        ratios = RESPACINGS[kind](highest, lowest, steps)
        times = [timestep_of(ratio, table) for ratio in ratios]
        if kind in ("karras", "lu") and round_karras:
            times = [float(round(time)) for time in times]
        elif whole:
            times = [float(int(time)) for time in times]
    levels = [level_from_ratio(ratio) for ratio in ratios]
    last = Level(1.0, end) if end_in_own_scale else level_from_ratio(end)
    if kind and whole and end:
        last = levels[-1]
    scale = 1.0 if whole or settings["timestep_spacing"] == "leading" else levels[0].sigma
    training = [level_from_ratio(ratio) for ratio in table]
    return Grid(times, levels, [*levels[1:], last], training, scale)


def inverse_grid(settings: Settings, steps: int) -> Grid:
    """Climb from the clean sample, each step to the level of its timestep (DDIM inversion)."""
    training = _training_levels(settings)
    times = spaced_timesteps(settings, steps, spare=False, whole=True)[::-1]
    stride = settings["num_train_timesteps"] // steps
    clean = CLEAN if settings["set_alpha_to_one"] else training[0]
    levels = [training[int(time) - stride] if time >= stride else clean for time in times]
    return Grid(times, levels, [training[int(time)] for time in times], training)


def distilled_grid(settings: Settings, steps: int) -> Grid:
    """Pick evenly from the timesteps that a consistency model was distilled on (LCM, TCD)."""
    original, count = settings["original_inference_steps"], settings["num_train_timesteps"]
    if steps > original:
        raise ValueError(
            f"steps must be at most {original} (original_inference_steps), not {steps}"
        )
    origin = [(i + 1) * (count // original) - 1 for i in reversed(range(original))]
    times = [float(origin[math.floor(i * (original / steps))]) for i in range(steps)]
    if settings["timesteps"] is not None:
        times = [float(time) for time in settings["timesteps"]]
    training = _training_levels(settings)
    levels = [training[int(time)] for time in times]
    return Grid(times, levels, [*levels[1:], training[0]], training)


def trigonometric_grid(_settings: Settings, steps: int) -> Grid:
    """Lay sigma as the squared sine of the time left (IPNDM)."""
    sigmas = torch.sin(torch.linspace(1, 0, steps + 1) * math.pi / 2) ** 2
    alphas = (1 - sigmas**2).sqrt()
    pairs = zip(alphas.double().tolist(), sigmas.double().tolist(), strict=True)
    levels = [Level(alpha, sigma) for alpha, sigma in pairs]
    times = [math.atan2(level.sigma, level.alpha) / math.pi * 2 for level in levels]
    return Grid(times[:-1], levels[:-1], levels[1:], levels)


def denoiser_grid(settings: Settings, steps: int) -> Grid:
    """Lay the levels of a preconditioned denoiser (arXiv:2206.00364, equation 5 and table 1).

    The network sees sample / sqrt(sigma^2 + data^2) and is told ln(sigma) / 4.
    """
    high, low, data = settings["sigma_max"], settings["sigma_min"], settings["sigma_data"]
    if settings["sigma_schedule"] == "karras":
        ratios = _karras(high, low, steps, settings["rho"])
    else:
        ratios = _exponential(high, low, steps)
    scales = [1 / math.sqrt(ratio**2 + data**2) for ratio in ratios]
    levels = [Level(scale, ratio * scale) for ratio, scale in zip(ratios, scales, strict=True)]
    end = CLEAN if settings["final_sigmas_type"] == "zero" else Level(1.0, low)
    times = [math.log(ratio) / 4 for ratio in ratios]
    scale = math.sqrt(high**2 + 1) * scales[0]
    return Grid(times, levels, [*levels[1:], end], levels, scale)
