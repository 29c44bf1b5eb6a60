"""The formulas behind all samplers, over vectors: tensors combined with per-row numbers."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .levels import Level


class Inputs(NamedTuple):
    """The vectors that a row may combine."""

    sample: Tensor
    prediction: Tensor
    clean: Tensor  # estimate of the clean sample, clipped where the config asks
    noise_estimate: Tensor
    noise: Tensor  # fresh, standard normal
    memory: tuple[Tensor, ...]


class Solver(NamedTuple):
    """A sampler on a grid: where each network call is made, and what is done with it."""

    timesteps: Sequence[float]
    levels: Sequence[Level]
    move: Callable[[int, Inputs], tuple[Tensor, ...]]  # row -> next sample, next memory
    memory: int = 0  # slots
    noisy: Sequence[bool] | None = None  # rows that draw fresh noise; None: no row
    log_ranges: Sequence[float] | None = None  # logarithm of the learned range of its deviation


def renoise(end: Level, clean: Tensor, noise_estimate: Tensor, spread: float = 0.0) -> Tensor:
    """Recombine both estimates at the level `end`, leaving out `spread` for fresh noise.

    DDIM: arXiv:2010.02502, equation 12. All first-order samplers are this one line.
    """
    kept = math.sqrt(max(end.sigma**2 - spread**2, 0.0))
    return end.alpha * clean + kept * noise_estimate


def transfer(
    start: Level, end: Level, sample: Tensor, noise_estimate: Tensor, spread: float = 0.0
) -> Tensor:
    """Move a sample from `start` to `end` along an estimate of the noise."""
    # Pure noise has no clean part to divide out; there the estimate is the sample itself.
    clean = (sample - start.sigma * noise_estimate) / max(start.alpha, 1e-8)
    return renoise(end, clean, noise_estimate, spread)


def posterior_spread(start: Level, end: Level) -> float:
    """Return the deviation of the noise that DDPM adds (arXiv:2006.11239, equation 7)."""
    grown = max(1 - (start.alpha / end.alpha) ** 2, 0.0)  # zero when climbing, too
    return end.sigma / start.sigma * math.sqrt(grown) if grown else 0.0


def integrate(nodes: Sequence[float], values: Sequence[Tensor], moments: Sequence[float]) -> Tensor:
    """Integrate the polynomial through (node, value), given the integrals of 1, u, u^2 ..."""
    powers = torch.tensor(nodes, dtype=torch.float64) ** torch.arange(len(nodes))[:, None]
    weights = torch.linalg.solve(powers, torch.tensor(moments, dtype=torch.float64))
    return torch.tensordot(weights, torch.stack([*values]), dims=1)


def adams_bashforth(nodes: Sequence[float], values: Sequence[Tensor]) -> Tensor:
    """Average the polynomial through (node, value) over the step ahead, u in [0, 1]."""
    return integrate(nodes, values, [1 / (k + 1) for k in range(len(nodes))])


def exponential_moments(h: float, count: int) -> list[float]:
    """Return the integrals of h exp(-h (1 - u)) u^k over u in [0, 1], for k below `count`."""
    moments = [-math.expm1(-h)]
    for k in range(1, count):
        moments.append(1 - k * moments[-1] / h)
    return moments


class Rule(NamedTuple):
    """How an exponential step treats the polynomial that it integrates.

    `slope` names the weight of the second of exactly two estimates: "exact", or half of the
    constant's weight ("midpoint" of DPM-Solver++, "bh2" of UniPC), or half of the step ("bh1").
    `curvature` scales the quadratic term. `of_noise` integrates estimates of the noise rather
    than of the clean sample. `churn` is the strength of fresh noise, 0 or 1 (the SDE forms).
    """

    slope: str = "exact"
    curvature: float = 1.0
    of_noise: bool = False
    churn: float = 0.0


def exponential_step(
    rule: Rule,
    start: Level,
    end: Level,
    sample: Tensor,
    known: Sequence[tuple[Level, Tensor]],
    noise: Tensor | None = None,
) -> Tensor:
    """Move from `start` to `end`, integrating the polynomial in lambda through known estimates.

    DPM-Solver: arXiv:2206.00927; DPM-Solver++: arXiv:2211.01095, with its SDE forms; DEIS:
    arXiv:2204.13902; UniPC: arXiv:2302.04867.
    """
    h = end.half_log_snr - start.half_log_snr
    if h == 0:
        return end.alpha / start.alpha * sample
    churn = rule.churn**2
    reach = -h if rule.of_noise else (1 + churn) * h
    moments = exponential_moments(reach, len(known))
    if len(known) == 2 and rule.slope != "exact":
        moments[1] = (reach if rule.slope == "bh1" else moments[0]) / 2
    if len(known) == 3:
        moments[2] *= rule.curvature
    nodes = [(level.half_log_snr - start.half_log_snr) / h for level, _ in known]
    gained = integrate(nodes, [value for _, value in known], moments)
    if rule.of_noise:
        return end.alpha / start.alpha * sample + end.sigma * gained
    faded = math.exp(-churn * h) if churn else 1.0
    moved = end.sigma / start.sigma * faded * sample + end.alpha * gained
    if noise is None or not churn:
        return moved
    return moved + end.sigma * math.sqrt(-math.expm1(-2 * churn * h)) * noise
