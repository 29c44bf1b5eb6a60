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


def posterior_spread(start: Level, end: Level) -> float:
    """Return the deviation of the noise that DDPM adds (arXiv:2006.11239, equation 7)."""
    falls = end.ratio < start.ratio
    return end.sigma * math.sqrt(1 - (end.ratio / start.ratio) ** 2) if falls else 0.0


def renoise(end: Level, clean: Tensor, noise_estimate: Tensor, spread: float = 0.0) -> Tensor:
    """Recombine both estimates at the level `end`, leaving out `spread` for fresh noise.

    DDIM: arXiv:2010.02502, equation 12. Every sampler is this line, with estimates of its own.
    """
    return end.alpha * clean + math.sqrt(max(end.sigma**2 - spread**2, 0.0)) * noise_estimate


def transfer(
    start: Level, end: Level, sample: Tensor, noise_estimate: Tensor, spread: float = 0.0
) -> Tensor:
    """Move a sample from `start` to `end` along an estimate of the noise."""
    # Pure noise has no clean part to divide out; there the estimate is the sample itself.
    clean = (sample - start.sigma * noise_estimate) / max(start.alpha, 1e-8)
    return renoise(end, clean, noise_estimate, spread)


def integrate(nodes: Sequence[float], values: Sequence[Tensor], moments: Sequence[float]) -> Tensor:
    """Integrate the polynomial through (node, value), given the integrals of 1, u, u^2 ..."""
    powers = torch.tensor(nodes, dtype=torch.float64) ** torch.arange(len(nodes))[:, None]
    weights = torch.linalg.solve(powers, torch.tensor(moments, dtype=torch.float64))
    return torch.tensordot(weights, torch.stack([*values]), dims=1)


def adams_bashforth(nodes: Sequence[float], values: Sequence[Tensor]) -> Tensor:
    """Average the polynomial through (node, value) over the step ahead, u in [0, 1]."""
    return integrate(nodes, values, [1 / (k + 1) for k in range(len(nodes))])


class Rule(NamedTuple):
    """How a step averages the estimates that it knows: over a polynomial through them.

    `of_noise` averages estimates of the noise rather than of the clean sample. The polynomial is
    one in `variable`: lambda ("log"), sigma / alpha ("ratio"), or the number of the step
    ("index"). In lambda, `slope` names the weight of the second of exactly two estimates: "exact",
    or half of the constant's weight ("midpoint" of DPM-Solver++, "bh2" of UniPC), or half of the
    step ("bh1"), and `curvature` scales the quadratic term. `fresh` adds noise (the SDE forms).
    """

    slope: str = "exact"
    curvature: float = 1.0
    of_noise: bool = False
    fresh: bool = False
    variable: str = "log"


def _average(rule: Rule, start: Level, end: Level, known: Sequence[tuple[Level, Tensor]]) -> Tensor:
    levels, values = zip(*known, strict=True)
    if len(known) == 1:
        return values[0]
    if rule.variable == "index":
        return adams_bashforth([-float(k) for k in range(len(known))], values)
    if rule.variable == "ratio":
        ratios = [level.ratio - start.ratio for level in levels]
        return adams_bashforth([ratio / (end.ratio - start.ratio) for ratio in ratios], values)
    h = end.half_log_snr - start.half_log_snr
    nodes = [(level.half_log_snr - start.half_log_snr) / h for level in levels]
    reach = -h if rule.of_noise else (1 + rule.fresh) * h
    moments = [-math.expm1(-reach)]  # the integrals of reach * exp(-reach * (1 - u)) * u^k
    for k in range(1, len(known)):
        moments.append(1 - k * moments[-1] / reach)
    if len(known) == 2 and rule.slope != "exact":
        moments[1] = (reach if rule.slope == "bh1" else moments[0]) / 2
    if len(known) == 3:
        moments[2] *= rule.curvature
    return integrate(nodes, values, [moment / moments[0] for moment in moments])


def averaged_step(
    rule: Rule,
    start: Level,
    end: Level,
    sample: Tensor,
    known: Sequence[tuple[Level, Tensor]],
    noise: Tensor | None = None,
) -> Tensor:
    """Move from `start` to `end` along the average of the known (level, estimate), newest first.

    DPM-Solver: arXiv:2206.00927; DPM-Solver++: arXiv:2211.01095, with its SDE forms; DEIS:
    arXiv:2204.13902; UniPC: arXiv:2302.04867.
    """
    if math.isclose(start.ratio, end.ratio):  # published grids may repeat their last level
        return end.alpha / start.alpha * sample
    mean = _average(rule, start, end, known)
    spread = posterior_spread(start, end) if rule.fresh else 0.0
    if rule.of_noise:
        moved = transfer(start, end, sample, mean, spread)
    else:
        moved = renoise(end, mean, (sample - start.alpha * mean) / start.sigma, spread)
    return moved if noise is None else moved + spread * noise
