"""The parts that all networks of the family share: time embedding, residual block, resampling."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .packed import PackedConv2d


def sinusoid(timestep: Tensor, width: int, *, cosine_first: bool, shift: float) -> Tensor:
    """Embed timesteps (B,) as sines and cosines (B, width) (arXiv:1706.03762, section 3.5)."""
    half = width // 2
    exponent = torch.arange(half, dtype=torch.float32, device=timestep.device) / (half - shift)
    angle = timestep.float()[:, None] * torch.exp(-math.log(10000) * exponent)  # B width/2
    parts = (angle.cos(), angle.sin()) if cosine_first else (angle.sin(), angle.cos())
    return torch.cat(parts, dim=-1)  # B width


class GaussianFourierProjection(nn.Module):
    """Embed noise levels (B,) as sines and cosines (B, 2 * width) of random frequencies."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(16 * torch.randn(width), requires_grad=False)

    def forward(self, level: Tensor) -> Tensor:
        angle = level.reshape(-1, 1).float().log() * self.weight.float() * 2 * math.pi
        return torch.cat((angle.sin(), angle.cos()), dim=-1)  # B 2 width


class TimestepEmbedding(nn.Module):
    """Lift a sinusoid to the width in which residual blocks read the time.

    A network with `guidance_width` is also told the guidance scale, embedded so wide.
    """

    def __init__(self, width: int, time_width: int, guidance_width: int | None = None) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(width, time_width)
        self.cond_proj = nn.Linear(guidance_width, width, bias=False) if guidance_width else None
        self.linear_2 = nn.Linear(time_width, time_width)

    def forward(self, x: Tensor, guidance: Tensor | None = None) -> Tensor:
        if self.cond_proj is not None and guidance is not None:
            x = x + self.cond_proj(guidance)
        return self.linear_2(F.silu(self.linear_1(x)))


def for_all(*parts: Tensor) -> list[Tensor]:
    """Repeat what serves all pictures, and so has a batch of one, to the batch of the others."""
    count = max(map(len, parts))
    # Not expanded: what has channels last is to keep them there, also where it is concatenated.
    return [part if len(part) == count else torch.cat([part] * count) for part in parts]


def group_norm(groups: int | None, width: int, eps: float) -> nn.GroupNorm:
    """Normalise in groups; without a number, of four channels each but at most 32."""
    return nn.GroupNorm(min(width // 4, 32) if groups is None else groups, width, eps)


Size = tuple[int, int] | None
Resample = Callable[[Tensor, Size], Tensor]
"""Changes height and width, without weights; the size matters to those that double only."""


def halve(x: Tensor, size: Size = None) -> Tensor:  # noqa: ARG001
    """Average two by two pixels."""
    return F.avg_pool2d(x, 2)


def double(x: Tensor, size: Size = None) -> Tensor:
    """Repeat pixels two by two, or reach `size` where the way down met an odd number."""
    return F.interpolate(x, size, None if size else 2.0, mode="nearest")


def smooth_halve(x: Tensor, size: Size = None) -> Tensor:  # noqa: ARG001
    """Halve through the filter 1 3 3 1, which is an average of neighbours three times over."""
    return F.avg_pool2d(_average_neighbours(x), 2)


def smooth_double(x: Tensor, size: Size = None) -> Tensor:
    """Double through the filter 1 3 3 1 (arXiv:1904.11486)."""
    return _average_neighbours(double(x, size))


def _average_neighbours(x: Tensor) -> Tensor:
    return F.avg_pool2d(F.avg_pool2d(x, 2, stride=1, padding=1), 2, stride=1)


class ResnetBlock2D(nn.Module):
    """Two normalised convolutions around a shortcut, told the time in between if it has one.

    With `scale_shift` the time also scales (arXiv:2105.05233, section 3). With `resample` the
    block changes the size, to `size` if that is given. `divisor` keeps the sum's variance.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        time_width: int | None,
        groups: int | None,
        eps: float,
        *,
        scale_shift: bool = False,
        divisor: float = 1.0,
        resample: Resample | None = None,
        shortcut: bool = False,
    ) -> None:
        super().__init__()
        self.scale_shift, self.divisor, self.resample = scale_shift, divisor, resample
        told = 2 * outputs if scale_shift else outputs
        self.norm1 = group_norm(groups, inputs, eps)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time_emb_proj = nn.Linear(time_width, told) if time_width else None
        self.norm2 = group_norm(groups, outputs, eps)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        shortcut = shortcut or inputs != outputs
        self.conv_shortcut = nn.Conv2d(inputs, outputs, 1) if shortcut else None

    def forward(self, x: Tensor, time: Tensor | None = None, size: Size = None) -> Tensor:
        hidden = F.silu(self.norm1(x), inplace=True)
        if self.resample is not None:
            x, hidden = self.resample(x, size), self.resample(hidden, size)
        hidden = self.conv1(hidden)  # by itself, so that what it was made of goes
        hidden = self._normalised(hidden, time)
        hidden = self.conv2(F.silu(hidden, inplace=True))
        x = hidden + (x if self.conv_shortcut is None else self.conv_shortcut(x))
        return x if self.divisor == 1 else x / self.divisor

    def _normalised(self, hidden: Tensor, time: Tensor | None) -> Tensor:
        if self.time_emb_proj is None or time is None:
            return self.norm2(hidden)
        told = self.time_emb_proj(F.silu(time))[:, :, None, None]
        if not self.scale_shift:
            return self.norm2(hidden + told)
        scale, shift = told.chunk(2, dim=1)
        return self.norm2(hidden) * (1 + scale) + shift


class Downsample2D(nn.Module):
    """Halve height and width; without padding, zeros go to the right and the bottom only."""

    def __init__(self, channels: int, padding: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=padding)

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:  # noqa: ARG002
        return self.conv(x if self.conv.padding != (0, 0) else F.pad(x, (0, 1, 0, 1)))


class Upsample2D(nn.Module):
    """Double height and width, or reach `size` where the way down met an odd number."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, time: Tensor | None = None, size: Size = None) -> Tensor:  # noqa: ARG002
        twice = (2 * x.shape[2], 2 * x.shape[3])
        if isinstance(self.conv, PackedConv2d) and size in (None, twice):
            return self.conv(x, True)
        return self.conv(double(x, size))
