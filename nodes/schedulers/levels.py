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
        return -math.log(self.ratio) if self.ratio else math.inf


CLEAN = Level(1.0, 0.0)


def level_from_ratio(ratio: float) -> Level:
    """Return the variance-preserving level whose sigma / alpha is `ratio`."""
    alpha = 1 / math.sqrt(1 + ratio * ratio)
    return Level(alpha, ratio * alpha)


def estimate(
    kind: str, level: Level, sample: Tensor, prediction: Tensor, deviation: float | None = None
) -> tuple[Tensor, Tensor]:
    """Estimate the clean sample and the noise: two equations, two unknowns.

    `kind` is a prediction_type; `deviation` is the sigma_data of a preconditioned network
    (arXiv:2206.00364, equation 7). Raises ValueError where both equations say the same: epsilon
    at pure noise, the clean sample at none.
    """
    alpha, sigma = level
    targets = {  # how much of the clean sample and of the noise a network is trained to predict
        "epsilon": (0.0, 1.0),
        "sample": (1.0, 0.0),
        "v_prediction": (-sigma, alpha),  # arXiv:2202.00512, appendix D
        "flow_prediction": (-1.0, 1.0),
    }
    of_clean, of_noise = targets[kind]
    if deviation:
        sign = 1 if kind == "epsilon" else -1
        of_clean, of_noise = sign * sigma / deviation, -sign * alpha * deviation
    determinant = alpha * of_noise - sigma * of_clean
    if determinant == 0:
        raise ValueError(
            f"prediction_type {kind!r} cannot start from "
            f"{'pure noise (rescale_betas_zero_snr)' if sigma else 'a clean sample'}; "
            f"use 'v_prediction' or {'sample' if sigma else 'epsilon'!r}"
        )
    clean = (of_noise * sample - sigma * prediction) / determinant
    return clean, (alpha * prediction - of_clean * sample) / determinant


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


def training_levels(settings: Settings, *, finite: bool = False) -> list[Level]:
    """Return the level of every training timestep, in float32 steps as it was trained.

    A float64 product would move the smallest level by 1e-5, so only the result is promoted.
    Zero terminal SNR: arXiv:2305.08891, algorithm 1; `finite` keeps sigma / alpha below infinity
    there, and rounds it to float32. Raises ValueError for impossible betas.
    """
    count, name = settings["num_train_timesteps"], settings["beta_schedule"]
    low, high, trained = (settings[key] for key in ("beta_start", "beta_end", "trained_betas"))
    betas = BETA_SCHEDULES[name](low, high, count) if trained is None else trained
    betas = torch.as_tensor(betas, dtype=torch.float32)
    if len(betas) != count:
        raise ValueError(
            f"trained_betas has {len(betas)} entries, but num_train_timesteps is {count}"
        )
    if not bool(((betas >= 0) & (betas < 1)).all()):
        raise ValueError(
            f"every beta must lie in [0, 1); found {betas.min():g} to {betas.max():g} "
            f"(beta_schedule {name!r}, beta_start {low}, beta_end {high})"
        )
    cumulative = torch.cumprod(1 - betas, dim=0)
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
