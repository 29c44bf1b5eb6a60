"""Grids: at which timesteps and noise levels the network is asked."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

import torch

from .levels import CLEAN, Level, Settings, level_from_ratio, training_levels
from .spacing import RESPACINGS, exponential, karras, respacing, spaced_timesteps


class Grid(NamedTuple):
    """The steps of a run: what the network is told, where each step starts and ends."""

    timesteps: list[float]
    levels: list[Level]
    ends: list[Level]
    training: Sequence[Level] = ()  # the level of every training timestep
    initial_scale: float = 1.0  # first sample = initial_scale * noise
    skipped: int = 0  # steps left out before the first, in a partial run

    def skip(self, steps: int) -> "Grid":
        """Leave out the first steps."""
        times, levels, ends = self.timesteps[steps:], self.levels[steps:], self.ends[steps:]
        return self._replace(timesteps=times, levels=levels, ends=ends, skipped=steps)


def next_grid(settings: Settings, steps: int) -> Grid:
    """Lay whole timesteps, each step ending where the next one starts (DDPM)."""
    training = training_levels(settings)
    times = spaced_timesteps(settings, steps, spare=False, whole=True)
    levels = [training[int(time)] for time in times]
    return Grid(times, levels, [*levels[1:], CLEAN], training)


def stride_grid(settings: Settings, steps: int) -> Grid:
    """Lay whole timesteps, each step going down by T // steps whatever the spacing (DDIM, PNDM)."""
    grid = next_grid(settings, steps)
    final = CLEAN if settings["set_alpha_to_one"] else grid.training[0]
    stride = settings["num_train_timesteps"] // steps
    below = [int(time) - stride for time in grid.timesteps]
    return grid._replace(ends=[grid.training[time] if time >= 0 else final for time in below])


def pseudo_grid(settings: Settings, steps: int) -> Grid:
    """Lay the grid of DDIM, its second step twice where the warm-up of PNDM is plain."""
    grid = stride_grid(settings, steps)
    if not settings["skip_prk_steps"] or steps == 1:
        return grid
    times, levels, ends = grid.timesteps, grid.levels, grid.ends
    return Grid(
        [*times[:2], *times[1:]], [*levels[:2], *levels[1:]], [*ends[:2], *ends[1:]], grid.training
    )


def inverse_grid(settings: Settings, steps: int) -> Grid:
    """Climb from the clean sample, each step to the level of its timestep (DDIM inversion)."""
    grid = stride_grid(settings, steps)
    return Grid(grid.timesteps[::-1], grid.ends[::-1], grid.levels[::-1], grid.training)


def distilled_grid(settings: Settings, steps: int) -> Grid:
    """Pick evenly from the timesteps that a consistency model was distilled on (LCM, TCD)."""
    original, count = settings["original_inference_steps"], settings["num_train_timesteps"]
    if steps > original:
        raise ValueError(f"steps must be at most {original} (original_inference_steps), "
                         f"not {steps}")  # fmt: skip
    origin = [(i + 1) * (count // original) - 1 for i in reversed(range(original))]
    times = [origin[math.floor(i * (original / steps))] for i in range(steps)]
    return next_grid({**settings, "timesteps": settings["timesteps"] or times}, steps)


def timestep_of(ratio: float, training: Sequence[Level]) -> float:
    """Return the timestep whose level is `ratio`, linear in its logarithm, within the table."""
    # Logarithms of the table in float32: where timesteps are cut to whole ones, noise decides.
    table = torch.tensor([level.ratio for level in training], dtype=torch.float32)
    logs, log = table.log().double().tolist(), math.log(ratio)
    low = min(max(bisect_right(logs, log) - 1, 0), len(logs) - 2)
    weight = (logs[low] - log) / (logs[low] - logs[low + 1])
    return low + min(max(weight, 0.0), 1.0)


def _ratio_of(time: float, training: Sequence[Level]) -> float:
    """Return sigma / alpha at a fractional timestep, linear between its neighbours."""
    low = min(int(time), len(training) - 2)
    below, above = training[low].ratio, training[low + 1].ratio
    return below + (time - low) * (above - below)


def ratio_grid(
    settings: Settings, steps: int, *, whole: bool, round_karras: bool, own_end: bool = False
) -> Grid:
    """Lay timesteps, read sigma / alpha off the training table, and respace if asked.

    `whole` marks the multistep families: whole timesteps, one spare point, respacing over the
    full training range; the others keep fractional timesteps and respace within their grid.
    `own_end` hands a last sample that is not clean over as clean + ratio * noise.
    """
    training = training_levels(settings, finite=True)
    times = spaced_timesteps(settings, steps, spare=whole, whole=whole)
    ratios = [_ratio_of(time, training) for time in times]
    lowest, highest = training[0].ratio, training[-1].ratio
    end = 0.0 if settings["final_sigmas_type"] == "zero" else lowest
    flag, by_logarithm = respacing(settings), settings.get("interpolation_type") == "log_linear"
    if settings["sigmas"] is not None:
        *ratios, end = settings["sigmas"]
        times = [timestep_of(ratio, training) for ratio in ratios]
    elif flag:
        high, low = (highest, lowest) if whole or by_logarithm else (ratios[0], ratios[-1])
        high, low = settings.get("sigma_max") or high, settings.get("sigma_min") or low
        ratios = RESPACINGS[flag](high, low, steps)
        times = [timestep_of(ratio, training) for ratio in ratios]
        if flag in ("use_karras_sigmas", "use_lu_lambdas") and round_karras:
            times = [float(round(time)) for time in times]
        elif whole:
            times = [float(int(time)) for time in times]
    elif by_logarithm:  # published runs leave out the last step, from the lowest level to clean
        *ratios, end = exponential(highest, lowest, steps + 1)
    told = (settings.get("timestep_type"), settings["prediction_type"])
    if told == ("continuous", "v_prediction"):
        times = [math.log(ratio) / 4 for ratio in ratios]
    levels = [level_from_ratio(ratio) for ratio in ratios]
    last = Level(1.0, end) if own_end else level_from_ratio(end)
    if flag and whole and end:
        last = levels[-1]
    scale = 1.0 if whole or settings["timestep_spacing"] == "leading" else levels[0].sigma
    return Grid(times, levels, [*levels[1:], last], training, scale)


def trigonometric_grid(_settings: Settings, steps: int) -> Grid:
    """Lay sigma as the squared sine of the time left (IPNDM)."""
    sigmas = torch.sin(torch.linspace(1, 0, steps + 1) * math.pi / 2) ** 2
    pairs = torch.stack([(1 - sigmas**2).sqrt(), sigmas], dim=1).double().tolist()
    levels = [Level(alpha, sigma) for alpha, sigma in pairs]
    times = [math.atan2(level.sigma, level.alpha) / math.pi * 2 for level in levels]
    return Grid(times[:-1], levels[:-1], levels[1:])


def denoiser_grid(settings: Settings, steps: int) -> Grid:
    """Lay the levels of a preconditioned denoiser (arXiv:2206.00364, equation 5 and table 1).

    The network sees sample / sqrt(sigma^2 + data^2) and is told ln(sigma) / 4.
    """
    high, low, data = settings["sigma_max"], settings["sigma_min"], settings["sigma_data"]
    if settings["sigma_schedule"] == "karras":
        ratios = karras(high, low, steps, settings["rho"])
    else:
        ratios = exponential(high, low, steps)
    scales = [1 / math.sqrt(ratio**2 + data**2) for ratio in ratios]
    levels = [Level(scale, ratio * scale) for ratio, scale in zip(ratios, scales, strict=True)]
    end = CLEAN if settings["final_sigmas_type"] == "zero" else Level(1.0, low)
    scale = math.sqrt(high**2 + 1) * scales[0]
    return Grid([math.log(r) / 4 for r in ratios], levels, [*levels[1:], end], (), scale)
