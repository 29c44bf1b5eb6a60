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
# What a squared alpha of zero becomes where sigma / alpha must stay finite.
SMALLEST_CUMULATIVE = 2.0**-24


def level_from_cumulative(cumulative: float) -> Level:
    """Return the variance-preserving level whose alpha squared is `cumulative`."""
    return Level(math.sqrt(cumulative), math.sqrt(1 - cumulative))


def level_from_ratio(ratio: float) -> Level:
    """Return the variance-preserving level whose sigma / alpha is `ratio`."""
    alpha = 1 / math.sqrt(1 + ratio * ratio)
    return Level(alpha, ratio * alpha)


def level_from_flow(sigma: float) -> Level:
    """Return the level on the straight line from clean (0) to noise (1): alpha = 1 - sigma."""
    return Level(1 - sigma, sigma)


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
        raise ValueError(
            "prediction_type 'epsilon' cannot start from pure noise (rescale_betas_zero_snr); "
            "use 'v_prediction' or 'sample'"
        )
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
    if sigma == 0:
        raise ValueError("prediction_type 'sample' says nothing about the noise of a clean sample")
    return Estimates((0.0, 1.0), (1 / sigma, -alpha / sigma))


def _from_survival(survival: Callable[[float], float]) -> Callable[[float, float, int], Tensor]:
    """Return the betas that make the cumulative alpha follow `survival` over [0, 1]."""

    def betas(_start: float, _end: float, count: int) -> Tensor:
        ratios = (survival((i + 1) / count) / survival(i / count) for i in range(count))
        return torch.tensor([min(1 - ratio, 0.999) for ratio in ratios], dtype=torch.float32)

    return betas


def _cosine(time: float) -> float:
    return math.cos((time + 0.008) / 1.008 * math.pi / 2) ** 2


def _linear(start: float, end: float, count: int) -> Tensor:
    return torch.linspace(start, end, count, dtype=torch.float32)


def _scaled_linear(start: float, end: float, count: int) -> Tensor:
    return torch.linspace(start**0.5, end**0.5, count, dtype=torch.float32) ** 2


def _sigmoid(start: float, end: float, count: int) -> Tensor:
    return torch.sigmoid(torch.linspace(-6, 6, count)) * (end - start) + start


BETA_SCHEDULES: dict[str, Callable[[float, float, int], Tensor]] = {
    "linear": _linear,
    "scaled_linear": _scaled_linear,
    "squaredcos_cap_v2": _from_survival(_cosine),
    "sigmoid": _sigmoid,
    "exp": _from_survival(lambda time: math.exp(-12 * time)),
}


def cumulative_alphas(settings: Settings) -> list[float]:
    """Return the squared alpha of every training timestep, in float32 steps as it was trained.

    A float64 product would move the smallest level by 1e-5, so only the result is promoted.
    Zero terminal SNR: arXiv:2305.08891, algorithm 1. Raises ValueError for impossible betas.
    """
    count = settings["num_train_timesteps"]
    if settings["trained_betas"] is not None:
        betas = torch.tensor(settings["trained_betas"], dtype=torch.float32)
        if len(betas) != count:
            raise ValueError(
                f"trained_betas has {len(betas)} entries, but num_train_timesteps is {count}"
            )
    else:
        schedule = BETA_SCHEDULES[settings["beta_schedule"]]
        betas = schedule(settings["beta_start"], settings["beta_end"], count)
    if not bool(((betas >= 0) & (betas < 1)).all()):
        raise ValueError(
            "every beta must lie in [0, 1); found "
            f"{betas.min().item()} to {betas.max().item()} (beta_schedule "
            f"{settings['beta_schedule']!r}, beta_start {settings['beta_start']}, "
            f"beta_end {settings['beta_end']})"
        )
    if not settings.get("rescale_betas_zero_snr"):
        return torch.cumprod(1 - betas, dim=0).double().tolist()
    roots = torch.cumprod(1 - betas, dim=0).sqrt()
    roots = (roots - roots[-1]) * (roots[0] / (roots[0] - roots[-1]))
    cumulative = roots**2
    betas = 1 - torch.cat([cumulative[:1], cumulative[1:] / cumulative[:-1]])
    return torch.cumprod(1 - betas, dim=0).double().tolist()


def training_ratios(settings: Settings) -> list[float]:
    """Return sigma / alpha of every training timestep in float32, ascending and finite."""
    cumulative = torch.tensor(cumulative_alphas(settings), dtype=torch.float32)
    if settings.get("rescale_betas_zero_snr"):
        cumulative[-1] = SMALLEST_CUMULATIVE
    return ((1 - cumulative) / cumulative).sqrt().double().tolist()
