"""The one step of every sampler, on tensors of any device and type."""

from typing import NamedTuple

import torch
from torch import Tensor


class Update(NamedTuple):
    """What a row makes of its columns: sample, prediction, clean, noise, memory ...

    `sums` are of these columns, with weights (S, 1, 1, 1, 1), or () if S = 1.
    `gives` says where the next sample and memory are, among the columns and the sums behind them.
    """

    sums: tuple[tuple[int, Tensor], ...]
    gives: tuple[int, ...]  # (1+K,)


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
    update: Update  # without what is zero in all rows
    clipping: Clipping | None  # without it, the clean estimate is a part of the other columns
    log_range: Tensor | None = None  # () of the deviation of the noise, where it is learned


def step(
    row: Row,
    sample: Tensor,
    prediction: Tensor,
    noise: Tensor | None,
    memory: tuple[Tensor, ...],
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Make one sampling step: next (sample, memory) from the network's prediction.

    sample, noise: (B, C, H, W); prediction: the same, or with a learned variance behind it in twice
    the channels; memory: K of the sample's shape, zeros at the start. The arithmetic runs in the
    sample's type, which should be float32. `noise` may be None on a row that draws none.
    """
    if prediction.dtype != sample.dtype:  # `to` takes a microsecond even with nothing to do
        prediction = prediction.to(sample.dtype)
    if prediction.numel() > sample.numel():  # to compare shapes takes twice as long
        prediction, variance = prediction.chunk(2, dim=1)
        if row.log_range is not None and noise is not None:
            noise = noise * torch.exp((variance + 1) / 2 * row.log_range)
    clean = estimate_clean(row, sample, prediction) if row.clipping else sample
    # What a row does not use has no weight in it, so anything may stand there.
    parts = [sample, prediction, clean, sample if noise is None else noise, *memory]
    parts += _weighted_sums(parts, row.update)
    gives = row.update.gives
    return parts[gives[0]], tuple([parts[place] for place in gives[1:]])


def estimate_clean(row: Row, sample: Tensor, prediction: Tensor) -> Tensor:
    """Estimate the clean sample from the network's prediction, clipped where the config asks."""
    prediction = prediction[:, : sample.shape[1]].to(sample.dtype)  # without a learned variance
    clean = row.predict[0] * sample + row.predict[1] * prediction
    return clean if row.clipping is None else _clip(clean, row.clipping)


def _weighted_sums(columns: list[Tensor], update: Update) -> tuple[Tensor, ...]:
    # No matrix product: no TF32, and the same bits for every batch size.
    sums = None  # S B C H W, and B C H W if S = 1
    for place, weights in update.sums:
        column = columns[place]
        sums = weights * column if sums is None else sums.addcmul_(weights, column)
    if sums is None:
        return ()
    return sums.unbind() if sums.ndim > columns[0].ndim else (sums,)


def _clip(clean: Tensor, clipping: Clipping) -> Tensor:
    if clipping.quantile is None:
        return clean.clamp(-clipping.limit, clipping.limit)
    magnitudes = clean.abs().flatten(1)  # (B, C*H*W)
    limit = magnitudes.quantile(clipping.quantile, dim=1).clamp(1, clipping.limit)
    limit = limit.reshape(-1, *[1] * (clean.ndim - 1))  # (B, 1, 1, 1)
    return clean.clamp(-limit, limit) / limit
