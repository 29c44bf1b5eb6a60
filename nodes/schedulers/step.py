"""The one step of every sampler, on tensors of any device and type."""

from typing import NamedTuple

import torch
from torch import Tensor

# For every output of a row, the columns that it sums and their weights; None: the column as it is.
# The columns are sample, prediction, clean, noise, memory ...
Update = tuple[tuple[tuple[int, Tensor | None], ...], ...]


class Clipping(NamedTuple):
    """What the estimate of the clean sample is clipped to.

    `quantile` asks for dynamic thresholding (arXiv:2205.11487, section 2.3): the limit is that
    quantile of the magnitudes, per image, between 1 and `limit`, and the result is divided by it.
    """

    limit: float
    quantile: float | None = None


class Row(NamedTuple):
    """The numbers of one network call, on the sample's device."""

    timestep: Tensor  # ()
    predict: Tensor  # (2,)
    update: Update  # (1+K, 4+K), without the columns that are zero in all rows
    clipping: Clipping | None  # without it, the clean estimate is a part of the other columns
    log_range: Tensor | None = None  # () of the deviation of the noise, where it is learned


def step(
    row: Row, sample: Tensor, prediction: Tensor, noise: Tensor | None, memory: Tensor
) -> tuple[Tensor, Tensor]:
    """Make one sampling step: next (sample, memory) from the network's prediction.

    sample, noise: (B, C, ...); prediction: the same, or with a learned variance behind it in twice
    the channels; memory: (K, B, C, ...), zeros at the start. The arithmetic runs in the sample's
    type, which should be float32. `noise` may be None on a row that draws none.
    """
    channels, prediction = sample.shape[1], prediction.to(sample.dtype)
    fresh = None if noise is None else noise.to(sample.dtype)
    if prediction.shape[1] > channels:
        prediction, variance = prediction.split(channels, dim=1)
        if row.log_range is not None and fresh is not None:
            fresh = fresh * torch.exp((variance + 1) / 2 * row.log_range)
    clean = estimate_clean(row, sample, prediction) if row.clipping else None
    columns = (sample, prediction, clean, fresh, *memory.unbind())
    moved = [_weighted_sum(columns, output) for output in row.update]
    return moved[0], torch.stack(moved[1:]) if len(moved) > 1 else memory


def estimate_clean(row: Row, sample: Tensor, prediction: Tensor) -> Tensor:
    """Estimate the clean sample from the network's prediction, clipped where the config asks."""
    prediction = prediction[:, : sample.shape[1]].to(sample.dtype)  # without a learned variance
    clean = row.predict[0] * sample + row.predict[1] * prediction
    return clean if row.clipping is None else _clip(clean, row.clipping)


def _weighted_sum(
    columns: tuple[Tensor | None, ...], output: tuple[tuple[int, Tensor | None], ...]
) -> Tensor:
    total = None
    for place, weight in output:
        column = columns[place]
        if column is None:  # a row that draws no noise
            continue
        if weight is None:
            return column
        # No matrix product: no TF32, and the same bits for every batch size.
        total = column * weight if total is None else total.addcmul_(column, weight)
    assert total is not None
    return total


def _clip(clean: Tensor, clipping: Clipping) -> Tensor:
    if clipping.quantile is None:
        return clean.clamp(-clipping.limit, clipping.limit)
    magnitudes = clean.abs().flatten(1)  # (B, C*H*W)
    limit = magnitudes.quantile(clipping.quantile, dim=1).clamp(1, clipping.limit)
    limit = limit.reshape(-1, *[1] * (clean.ndim - 1))  # (B, 1, 1, 1)
    return clean.clamp(-limit, limit) / limit
