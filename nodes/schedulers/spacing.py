"""Spacings: how timesteps and levels are laid over what a network was trained on."""

import math
from collections.abc import Callable
from itertools import pairwise

from .levels import Settings, training_ratios


def check_steps(settings: Settings, steps: int) -> None:
    """Refuse a number of steps that the training grid cannot hold, with a ValueError."""
    count = settings["num_train_timesteps"]
    if not 1 <= steps <= count:
        raise ValueError(f"steps must be between 1 and {count} (num_train_timesteps), not {steps}")


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
    for time in times:
        if not 0 <= time < count:
            raise ValueError(
                f"timestep {time:g} lies outside the training grid 0 ... {count - 1}: {steps} "
                f"steps with timestep_spacing {spacing!r} and steps_offset "
                f"{settings['steps_offset']} do not fit"
            )
    return times


def clipped_timesteps(settings: Settings) -> int:
    """Count the noisiest timesteps that `lambda_min_clipped` leaves out."""
    lowest = settings.get("lambda_min_clipped", -math.inf)
    if lowest == -math.inf:
        return 0
    return sum(-math.log(ratio) < lowest for ratio in training_ratios(settings))


def karras(highest: float, lowest: float, steps: int, rho: float = 7.0) -> list[float]:
    """Lay levels evenly in their rho-th root (arXiv:2206.00364, equation 5)."""
    high, low = highest ** (1 / rho), lowest ** (1 / rho)
    return [(high + u * (low - high)) ** rho for u in _ramp(steps)]


def exponential(highest: float, lowest: float, steps: int) -> list[float]:
    """Lay levels evenly in their logarithm."""
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


# Even spacing in the logarithm has two names in checkpoints; "beta": arXiv:2407.12173.
RESPACINGS: dict[str, Callable[[float, float, int], list[float]]] = {
    "karras": karras,
    "exponential": exponential,
    "lu": exponential,
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
