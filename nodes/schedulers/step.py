"""The one step of every sampler, on tensors of any device and type."""

from typing import NamedTuple

import torch
from torch import Tensor


class Row(NamedTuple):
    """The numbers of one network call, on the sample's device."""

    timestep: Tensor  # ()
    predict: Tensor  # (2,)
    update: Tensor  # (1+K, 4+K)
    log_range: Tensor | None = None  # () of the deviation of the noise, where it is learned


class Clipping(NamedTuple):
    """What the estimate of the clean sample is clipped to.

    `quantile` asks for dynamic thresholding (arXiv:2205.11487, section 2.3): the limit is that
    quantile of the magnitudes, per image, between 1 and `limit`, and the result is divided by it.
    """

    limit: float
    quantile: float | None = None


def step(
    row: Row,
    sample: Tensor,
    prediction: Tensor,
    noise: Tensor | None,
    memory: Tensor,
    clipping: Clipping | None = None,
) -> tuple[Tensor, Tensor]:
    """Make one sampling step: next (sample, memory) from the network's prediction.

    sample, noise: (B, C, ...); prediction: the same, or with a learned variance behind it in twice
    the channels; memory: (K, B, C, ...), zeros at the start. The arithmetic runs in the sample's
    type, which should be float32. `noise` may be None on a row that draws none.
    """
    channels = sample.shape[1]
    prediction, variance = prediction.to(sample.dtype).tensor_split((channels,), dim=1)
    clean = row.predict[0] * sample + row.predict[1] * prediction
    if clipping is not None:
        clean = _clip(clean, clipping)
    # Where noise is None its column is zero, and any finite tensor may stand in.
    fresh = sample if noise is None else noise.to(sample.dtype)
    if row.log_range is not None and noise is not None:
        fresh = fresh * torch.exp((variance + 1) / 2 * row.log_range)
    columns = torch.cat([torch.stack([sample, prediction, clean, fresh]), memory])  # (4+K, B, ...)
    weights = row.update.reshape(*row.update.shape, *[1] * sample.ndim)
    # A sum of products, not a matrix product: no TF32, and the same bits for every batch size.
    moved = (weights * columns).sum(dim=1)  # (1+K, B, ...)
    return moved[0], moved[1:]


def _clip(clean: Tensor, clipping: Clipping) -> Tensor:
    if clipping.quantile is None:
        return clean.clamp(-clipping.limit, clipping.limit)
    magnitudes = clean.abs().flatten(1)  # (B, C*H*W)
    limit = magnitudes.quantile(clipping.quantile, dim=1).clamp(1, clipping.limit)
    limit = limit.reshape(-1, *[1] * (clean.ndim - 1))  # (B, 1, 1, 1)
    return clean.clamp(-limit, limit) / limit
