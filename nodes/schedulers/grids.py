"""Grids: at which timesteps and noise levels the network is asked."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .levels import CLEAN, Level, Settings, level_from_ratio, training_levels

Numbers = NDArray[np.float64]


class Grid(NamedTuple):
    """The steps of a run: what the network is told, where each step starts and ends."""

    timesteps: list[float]
    levels: list[Level]
    ends: list[Level]
    training: Sequence[Level] = ()  # the level of every training timestep
    initial_scale: float = 1.0  # first sample = initial_scale * noise
    skipped: int = 0  # steps left out before the first, in a partial run

    def take(self, steps: Sequence[int]) -> "Grid":
        """Keep these steps, in this order."""
        times, levels, ends = ([part[step] for step in steps] for part in self[:3])
        return self._replace(timesteps=times, levels=levels, ends=ends)


def karras(high: float, low: float, steps: int, rho: float = 7.0) -> Numbers:
    """Lay levels evenly in their rho-th root (arXiv:2206.00364, equation 5)."""
    return np.linspace(high ** (1 / rho), low ** (1 / rho), steps) ** rho


def exponential(high: float, low: float, steps: int) -> Numbers:
    """Lay levels evenly in their logarithm."""
    return np.exp(np.linspace(math.log(high), math.log(low), steps))


def beta(high: float, low: float, steps: int, shape: float = 0.6) -> Numbers:
    """Lay levels at even quantiles of a Beta(shape, shape) distribution (arXiv:2407.12173)."""
    # Below the median, as a function of quantile ** shape, the distribution is smooth.
    roots = np.linspace(0, 0.5**shape, 10_001)
    density = (1 - roots ** (1 / shape)) ** (shape - 1)
    areas = np.concatenate([[0], np.cumsum(density[1:] + density[:-1])])
    share = np.linspace(1, 0, steps)
    lower = np.interp(np.minimum(share, 1 - share), areas / areas[-1] / 2, roots) ** (1 / shape)
    return low + np.where(share > 0.5, 1 - lower, lower) * (high - low)


# By the flag of each; even spacing in the logarithm has two names in checkpoints.
RESPACINGS: dict[str, Callable[[float, float, int], Numbers]] = {
    "use_karras_sigmas": karras,
    "use_lu_lambdas": exponential,
    "use_exponential_sigmas": exponential,
    "use_beta_sigmas": beta,
}


def respacing(settings: Settings) -> str | None:
    """Return the flag of the respacing that the settings ask for; two at once are a ValueError."""
    asked = [flag for flag in RESPACINGS if settings.get(flag)]
    if len(asked) > 1:
        raise ValueError(
            f"only one of {', '.join(RESPACINGS)} may be true, found {' and '.join(asked)}"
        )
    return asked[0] if asked else None


def spaced_timesteps(
    settings: Settings, training: Sequence[Level], steps: int, *, spare: bool, whole: bool
) -> Numbers:
    """Space `steps` timesteps over the training grid, descending (arXiv:2305.08891, table 2).

    `spare` lays one point more and drops the last; `whole` rounds half to even, where the last
    bit decides ties. Raises ValueError when a timestep falls off the training grid.
    """
    count, points = len(training), steps + spare
    offset, spacing = settings["steps_offset"], settings["timestep_spacing"]
    lowest = settings.get("lambda_min_clipped", -math.inf)
    first = count - sum(level.half_log_snr < lowest for level in training)
    if settings["timesteps"] is not None:
        times = np.array(settings["timesteps"], dtype=np.float64)
    elif spacing == "linspace":
        times = np.linspace(0, first - 1, points)[::-1][:steps]
    elif spacing == "leading":
        times = np.arange(points, dtype=np.float64)[::-1][:steps] * (first // points) + offset
    else:
        times = np.round(np.arange(first, -count, -count / steps)[:steps]) - 1
    for time in times:
        if not 0 <= time < count:
            raise ValueError(
                f"timestep {time:g} lies outside the training grid 0 ... {count - 1}: {steps} "
                f"steps with timestep_spacing {spacing!r} and steps_offset {offset} do not fit"
            )
    return np.round(times) if whole else times


def next_grid(settings: Settings, steps: int) -> Grid:
    """Lay whole timesteps, each step ending where the next one starts (DDPM)."""
    training = training_levels(settings)
    times = spaced_timesteps(settings, training, steps, spare=False, whole=True).tolist()
    levels = [training[int(time)] for time in times]
    return Grid(times, levels, [*levels[1:], CLEAN], training)


def stride_grid(settings: Settings, steps: int) -> Grid:
    """Lay whole timesteps, each step going down by T // steps whatever the spacing (DDIM, PNDM)."""
    grid = next_grid(settings, steps)
    final = CLEAN if settings["set_alpha_to_one"] else grid.training[0]
    below = [int(time) - len(grid.training) // steps for time in grid.timesteps]
    return grid._replace(ends=[grid.training[time] if time >= 0 else final for time in below])


def pseudo_grid(settings: Settings, steps: int) -> Grid:
    """Lay the grid of DDIM, its second step twice where the warm-up of PNDM is plain."""
    doubled = [1] if settings["skip_prk_steps"] and steps > 1 else []
    return stride_grid(settings, steps).take([0, *doubled, *range(1, steps)])


def inverse_grid(settings: Settings, steps: int) -> Grid:
    """Climb from the clean sample, each step to the level of its timestep (DDIM inversion)."""
    grid = stride_grid(settings, steps).take(range(steps)[::-1])
    return grid._replace(levels=grid.ends, ends=grid.levels)


def distilled_grid(settings: Settings, steps: int) -> Grid:
    """Pick evenly from the timesteps that a consistency model was distilled on (LCM, TCD)."""
    original, count = settings["original_inference_steps"], settings["num_train_timesteps"]
    if steps > original:
        raise ValueError(
            f"steps must be at most {original} (original_inference_steps), not {steps}"
        )
    picked = [original - math.floor(i * (original / steps)) for i in range(steps)]
    times = settings["timesteps"] or [place * (count // original) - 1 for place in picked]
    return next_grid({**settings, "timesteps": times}, steps)


def timesteps_of(ratios: Sequence[float] | Numbers, training: Sequence[Level]) -> Numbers:
    """Return the timesteps whose levels are `ratios`, linear in the logarithm, within the table."""
    # Logarithms of the table in float32: where timesteps are cut to whole ones, noise decides.
    table = np.log(np.array([level.ratio for level in training], dtype=np.float32))
    return np.interp(np.log(ratios), table, np.arange(len(table)))


def ratio_grid(
    settings: Settings, steps: int, *, whole: bool = False, round_karras: bool = False
) -> Grid:
    """Lay timesteps, read sigma / alpha off the training table, and respace if asked.

    `whole` marks the multistep families: whole timesteps, one spare point, respacing over the
    full training range. The others keep fractional timesteps, respace within their grid, and hand
    a last sample that is not clean over as clean + ratio * noise.
    """
    training = training_levels(settings, finite=True)
    table = np.array([level.ratio for level in training])
    times = spaced_timesteps(settings, training, steps, spare=whole, whole=whole)
    ratios = np.interp(times, np.arange(len(table)), table)
    end = 0.0 if settings["final_sigmas_type"] == "zero" else table[0]
    flag, by_logarithm = respacing(settings), settings.get("interpolation_type") == "log_linear"
    if settings["sigmas"] is not None:
        *ratios, end = settings["sigmas"]
        times = timesteps_of(ratios, training)
    elif flag:
        high, low = table[[-1, 0]] if whole or by_logarithm else ratios[[0, -1]]
        high, low = settings.get("sigma_max") or high, settings.get("sigma_min") or low
        ratios = RESPACINGS[flag](high, low, steps)
        times = timesteps_of(ratios, training)
        if round_karras and flag in ("use_karras_sigmas", "use_lu_lambdas"):
            times = np.round(times)
        elif whole:
            times = np.trunc(times)
    elif by_logarithm:  # published runs leave out the last step, from the lowest level to clean
        *ratios, end = exponential(table[-1], table[0], steps + 1)
    if settings.get("timestep_type") == "continuous" and settings["prediction_type"][0] == "v":
        times = np.log(ratios) / 4
    levels = [level_from_ratio(float(ratio)) for ratio in ratios]
    last = level_from_ratio(float(end)) if whole else Level(1.0, end)
    if flag and whole and end:
        last = levels[-1]
    scale = 1.0 if whole or settings["timestep_spacing"] == "leading" else levels[0].sigma
    return Grid(times.tolist(), levels, [*levels[1:], last], training, scale)


def multistep_grid(settings: Settings, steps: int) -> Grid:
    """Lay whole timesteps, or shifted sigmas of flow levels (DPM-Solver++, DEIS, UniPC).

    On flow levels UniPC begins just below pure noise, where lambda is infinite; the others a
    timestep lower, their spare point at the clean end dropped.
    """
    if not settings["use_flow_sigmas"]:
        # On the cosine schedule the multistep class alone cuts the respaced timesteps.
        cut = "use_lu_lambdas" in settings and settings["beta_schedule"] == "squaredcos_cap_v2"
        return ratio_grid(settings, steps, whole=True, round_karras=not cut)
    low = 1 / settings["num_train_timesteps"]
    even = np.linspace(1, low, steps + 1)[:-1]
    if "predict_x0" not in settings:
        even = np.linspace(0, 1 - low, steps + 1)[:0:-1]
    sigmas = _shift(settings, np.array(settings["sigmas"] or even), settings["flow_shift"])
    sigmas[0] -= 1e-6 if abs(sigmas[0] - 1) < 1e-6 else 0.0
    end = 0.0
    if settings["final_sigmas_type"] == "sigma_min":
        dpm = settings.get("algorithm_type", "").endswith(("dpmsolver", "dpmsolver++"))
        end = training_levels(settings, finite=True)[0].ratio if dpm else sigmas[-1]
    return _straight(sigmas, end, np.trunc(sigmas * settings["num_train_timesteps"]))


def flow_grid(settings: Settings, steps: int) -> Grid:
    """Lay sigmas evenly (or as given) and shift them (flow matching).

    The ends of the even grid are shifted already, so that a fixed shift acts twice: published
    pictures of Stable Diffusion 3 depend on it. `shift_once` lays unshifted ends instead, and
    explicit sigmas are always shifted once.
    """
    shift, count, flag = settings["shift"], settings["num_train_timesteps"], respacing(settings)
    once = 1.0 if settings["use_dynamic_shifting"] or settings.get("shift_once") else shift
    even = np.linspace(1, once / (count + once - 1), steps)
    sigmas = _shift(settings, np.array(settings["sigmas"] or even), shift)
    if flag:
        sigmas = RESPACINGS[flag](sigmas[0], sigmas[-1], steps)
    inverted = settings["invert_sigmas"]
    sigmas = 1 - sigmas if inverted else sigmas
    return _straight(sigmas, float(inverted), sigmas * count)


def _shift(settings: Settings, sigmas: Numbers, amount: float) -> Numbers:
    """Move levels towards noise, by a fixed `amount` or by what the picture's size asks (`mu`).

    Stable Diffusion 3: arXiv:2403.03206, section 5.3.2.
    """
    if settings["use_dynamic_shifting"]:
        amount = settings["mu"]
        if amount is None:
            raise ValueError(
                "use_dynamic_shifting is true, so mu (the shift by size) must be given"
            )
        if settings["time_shift_type"] == "exponential":
            amount = math.exp(amount)
    shifted = amount * sigmas / (1 + (amount - 1) * sigmas)
    if not settings.get("shift_terminal"):
        return shifted
    return 1 - (1 - shifted) * (1 - settings["shift_terminal"]) / (1 - shifted[-1])


def _straight(sigmas: Numbers, end: float, times: Numbers) -> Grid:
    """Lay levels of which alpha + sigma = 1."""
    # Near pure noise 1 - sigma is decided by sigma's rounding to float32.
    rounded = np.array([*sigmas, end]).astype(np.float32).astype(np.float64).tolist()
    levels = [Level(1 - sigma, sigma) for sigma in rounded]
    return Grid(times.tolist(), levels[:-1], levels[1:])


def trigonometric_grid(_settings: Settings, steps: int) -> Grid:
    """Lay sigma as the squared sine of the time left (IPNDM)."""
    sigmas = np.sin(np.linspace(1, 0, steps + 1) * math.pi / 2) ** 2
    levels = [Level(math.sqrt(1 - sigma**2), sigma) for sigma in sigmas.tolist()]
    times = [math.atan2(level.sigma, level.alpha) / math.pi * 2 for level in levels]
    return Grid(times[:-1], levels[:-1], levels[1:])


def denoiser_grid(settings: Settings, steps: int) -> Grid:
    """Lay the levels of a preconditioned denoiser (arXiv:2206.00364, equation 5 and table 1).

    The network sees sample / sqrt(sigma^2 + data^2) and is told ln(sigma) / 4.
    """
    high, low, data = settings["sigma_max"], settings["sigma_min"], settings["sigma_data"]
    even = settings["sigma_schedule"] == "exponential"
    ratios = exponential(high, low, steps) if even else karras(high, low, steps, settings["rho"])
    scales = 1 / np.sqrt(ratios**2 + data**2)
    levels = [Level(*pair) for pair in np.stack([scales, ratios * scales], axis=1).tolist()]
    end = CLEAN if settings["final_sigmas_type"] == "zero" else Level(1.0, low)
    scale = math.sqrt(high**2 + 1) * levels[0].alpha
    return Grid((np.log(ratios) / 4).tolist(), levels, [*levels[1:], end], (), scale)
