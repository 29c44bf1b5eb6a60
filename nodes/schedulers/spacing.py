"""Spacings: how timesteps and levels are laid over what a network was trained on."""

import math
from collections.abc import Callable
from itertools import pairwise

from .levels import Settings, training_levels


def explicit_steps(settings: Settings) -> int:
    """Return how many steps explicit timesteps or sigmas make, 0 without any; check them."""
    given = {what: settings[what] for what in ("timesteps", "sigmas") if settings[what] is not None}
    if len(given) + (respacing(settings) is not None) > 1:
        raise ValueError("give only one of timesteps, sigmas and a use_..._sigmas respacing")
    for what, values in given.items():
        # Sigmas over the training table end where the last step does.
        count = len(values) - ("interpolation_type" in settings and what == "sigmas")
        if count < 1 or not all(high > low for high, low in pairwise(values)):
            raise ValueError(f"{what} must be strictly decreasing, with a step at least: {values}")
        return count
    return 0


def spaced_timesteps(settings: Settings, steps: int, *, spare: bool, whole: bool) -> list[float]:
    """Space `steps` timesteps over the training grid, descending (arXiv:2305.08891, table 2).

    `spare` lays one point more and drops the last; `whole` rounds half to even. The products
    are formed as numpy forms them, since ties decide some timesteps. Raises ValueError when a
    timestep falls off the training grid.
    """
    count, offset = settings["num_train_timesteps"], settings["steps_offset"]
    spacing, points = settings["timestep_spacing"], steps + spare
    first = count - _clipped_timesteps(settings)
    if settings["timesteps"] is not None:
        times = [float(time) for time in settings["timesteps"]]
    elif spacing == "linspace":
        stride = (first - 1) / max(points - 1, 1)
        times = [i * stride for i in reversed(range(points))][:steps]
        times[0] = float(first - 1) if points > 1 else 0.0
    elif spacing == "leading":
        times = [float(i * (first // points) + offset) for i in reversed(range(points))][:steps]
    else:
        stride = (first - count / steps) - first
        times = [float(round(first + i * stride) - 1) for i in range(steps)]
    if whole:
        times = [float(round(time)) for time in times]
    for time in times:
        if not 0 <= time < count:
            raise ValueError(
                f"timestep {time:g} lies outside the training grid 0 ... {count - 1}: {steps} "
                f"steps with timestep_spacing {spacing!r} and steps_offset {offset} do not fit"
            )
    return times


def _clipped_timesteps(settings: Settings) -> int:
    """Count the noisiest timesteps that `lambda_min_clipped` leaves out."""
    lowest = settings.get("lambda_min_clipped", -math.inf)
    if lowest == -math.inf:
        return 0
    return sum(level.half_log_snr < lowest for level in training_levels(settings, finite=True))


def line(high: float, low: float, points: int) -> list[float]:
    """Lay levels evenly."""
    stride = (low - high) / max(points - 1, 1)
    return [high + i * stride for i in range(points)]


def karras(high: float, low: float, steps: int, rho: float = 7.0) -> list[float]:
    """Lay levels evenly in their rho-th root (arXiv:2206.00364, equation 5)."""
    return [root**rho for root in line(high ** (1 / rho), low ** (1 / rho), steps)]


def exponential(high: float, low: float, steps: int) -> list[float]:
    """Lay levels evenly in their logarithm."""
    return [math.exp(log) for log in line(math.log(high), math.log(low), steps)]


def beta(high: float, low: float, steps: int) -> list[float]:
    """Lay levels at even quantiles of a Beta(0.6, 0.6) distribution (arXiv:2407.12173)."""
    return [low + _beta_quantile(u) * (high - low) for u in line(1.0, 0.0, steps)]


def _beta_quantile(probability: float, shape: float = 0.6) -> float:
    """Return the quantile of the symmetric Beta(shape, shape) distribution."""
    if probability > 0.5:
        return 1 - _beta_quantile(1 - probability, shape)
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


# The flag of each; even spacing in the logarithm has two names in checkpoints.
RESPACINGS: dict[str, Callable[[float, float, int], list[float]]] = {
    "use_karras_sigmas": karras,
    "use_lu_lambdas": exponential,
    "use_exponential_sigmas": exponential,
    "use_beta_sigmas": beta,
}


def respacing(settings: Settings) -> str | None:
    """Return the flag of the respacing that the settings ask for; two at once are a ValueError."""
    asked = [flag for flag in RESPACINGS if settings.get(flag)]
    if len(asked) > 1:
        names = ", ".join(RESPACINGS)
        raise ValueError(f"only one of {names} may be true, found {' and '.join(asked)}")
    return asked[0] if asked else None
