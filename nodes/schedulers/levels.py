"""Noise levels: how much of a sample is picture and how much is noise."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

Settings = Mapping[str, Any]


class Level(NamedTuple):
    """A noise level: sample = alpha * clean + sigma * noise, in the network's coordinates."""

    alpha: float
    sigma: float

    @property
    def ratio(self) -> float:
        """Return sigma / alpha, what k-diffusion calls sigma (infinite for pure noise)."""
        return self.sigma / self.alpha if self.alpha else math.inf

    @property
    def half_log_snr(self) -> float:
        """Return log(alpha / sigma), the lambda of DPM-Solver (infinite for a clean sample)."""
        if not self.sigma or not self.alpha:
            return math.inf if self.alpha else -math.inf
        return math.log(self.alpha / self.sigma)


CLEAN = Level(1.0, 0.0)


def level_from_ratio(ratio: float) -> Level:
    """Return the variance-preserving level whose sigma / alpha is `ratio`."""
    alpha = 1 / math.sqrt(1 + ratio * ratio)
    return Level(alpha, ratio * alpha)


class Estimates(NamedTuple):
    """Two numbers each: what to multiply the sample and the prediction by, and add."""

    clean: tuple[float, float]
    noise: tuple[float, float]


def estimates(settings: Settings, level: Level) -> Estimates:
    """Return how a network's prediction gives the clean sample and the noise at a level.

    v-prediction: arXiv:2202.00512, appendix D; preconditioned networks (`sigma_data`):
    arXiv:2206.00364, equation 7. Raises ValueError where the prediction says nothing: epsilon at
    pure noise, and the clean sample (of its noise) at no noise.
    """
    alpha, sigma = level
    kind = settings["prediction_type"]
    if kind == "epsilon" and alpha == 0:
        raise ValueError("prediction_type 'epsilon' cannot start from pure noise "
                         "(rescale_betas_zero_snr); use 'v_prediction' or 'sample'")  # fmt: skip
    if kind == "sample" and sigma == 0:
        raise ValueError("prediction_type 'sample' says nothing about the noise of a clean sample")
    if "sigma_data" in settings:
        deviation, ratio = settings["sigma_data"], level.ratio
        total = ratio**2 + deviation**2
        out = ratio * deviation / math.sqrt(total) * (1 if kind == "epsilon" else -1)
        skip = deviation**2 / total / alpha
        return Estimates((skip, out), ((1 - alpha * skip) / sigma, -alpha * out / sigma))
    if kind == "epsilon":
        return Estimates((1 / alpha, -sigma / alpha), (0.0, 1.0))
    if kind == "v_prediction":
        return Estimates((alpha, -sigma), (sigma, alpha))
    if kind == "flow_prediction":
        return Estimates((1.0, -sigma), (1.0, alpha))
    return Estimates((0.0, 1.0), (1 / sigma, -alpha / sigma))


def _following(survival: Callable[[float], float], count: int) -> Tensor:
    """Return the betas that make the cumulative alpha follow `survival` over [0, 1]."""
    ratios = (survival((i + 1) / count) / survival(i / count) for i in range(count))
    return torch.tensor([min(1 - ratio, 0.999) for ratio in ratios], dtype=torch.float32)


def _cosine(time: float) -> float:
    return math.cos((time + 0.008) / 1.008 * math.pi / 2) ** 2


BETA_SCHEDULES: dict[str, Callable[[float, float, int], Tensor]] = {
    "linear": torch.linspace,
    "scaled_linear": lambda low, high, n: torch.linspace(low**0.5, high**0.5, n) ** 2,
    "sigmoid": lambda low, high, n: torch.linspace(-6, 6, n).sigmoid() * (high - low) + low,
    "squaredcos_cap_v2": lambda _low, _high, n: _following(_cosine, n),
    "exp": lambda _low, _high, n: _following(lambda time: math.exp(-12 * time), n),
}


def _betas(settings: Settings) -> Tensor:
    """Return the betas of the training in float32; impossible ones are a ValueError."""
    count, given = settings["num_train_timesteps"], settings["trained_betas"]
    low, high, name = (settings[f"beta_{field}"] for field in ("start", "end", "schedule"))
    trained = None if given is None else torch.tensor(given, dtype=torch.float32)
    betas = BETA_SCHEDULES[name](low, high, count) if trained is None else trained
    if len(betas) != count:
        raise ValueError(f"trained_betas has {len(betas)} entries, "
                         f"but num_train_timesteps is {count}")  # fmt: skip
    if not bool(((betas >= 0) & (betas < 1)).all()):
        low_to_high = f"{betas.min():g} to {betas.max():g}"
        raise ValueError(f"every beta must lie in [0, 1); found {low_to_high} "
                         f"(beta_schedule {name!r}, "
                         f"beta_start {low}, beta_end {high})")  # fmt: skip
    return betas


def training_levels(settings: Settings, *, finite: bool = False) -> list[Level]:
    """Return the level of every training timestep, in float32 steps as it was trained.

    A float64 product would move the smallest level by 1e-5, so only the result is promoted.
    Zero terminal SNR: arXiv:2305.08891, algorithm 1; `finite` keeps sigma / alpha below infinity
    there, and rounds it to float32. Raises ValueError for impossible betas.
    """
    cumulative = torch.cumprod(1 - _betas(settings), dim=0)
    if settings.get("rescale_betas_zero_snr"):
        roots = cumulative.sqrt()
        cumulative = ((roots - roots[-1]) * (roots[0] / (roots[0] - roots[-1]))) ** 2
        betas = 1 - torch.cat([cumulative[:1], cumulative[1:] / cumulative[:-1]])
        cumulative = torch.cumprod(1 - betas, dim=0)
        if finite:
            cumulative[-1] = 2.0**-24
    if finite:
        ratios = ((1 - cumulative) / cumulative).sqrt()
        return [level_from_ratio(ratio) for ratio in ratios.double().tolist()]
    return [Level(math.sqrt(a), math.sqrt(1 - a)) for a in cumulative.double().tolist()]
