"""The parts that all networks of the family share: time embedding, residual block, resampling."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def sinusoid(timestep: Tensor, width: int, *, cosine_first: bool, shift: float) -> Tensor:
    """Embed timesteps (B,) as sines and cosines (B, width) (arXiv:1706.03762, section 3.5)."""
    half = width // 2
    exponent = torch.arange(half, dtype=torch.float32, device=timestep.device) / (half - shift)
    angle = timestep.float()[:, None] * torch.exp(-math.log(10000) * exponent)  # B width/2
    parts = (angle.cos(), angle.sin()) if cosine_first else (angle.sin(), angle.cos())
    return torch.cat(parts, dim=-1)  # B width


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


class ResnetBlock2D(nn.Module):
    """Two normalised convolutions around a shortcut, told the time in between if it has one."""

    def __init__(
        self, inputs: int, outputs: int, time_width: int | None, groups: int, eps: float
    ) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, inputs, eps)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time_emb_proj = nn.Linear(time_width, outputs) if time_width else None
        self.norm2 = nn.GroupNorm(groups, outputs, eps)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        hidden = self.conv1(F.silu(self.norm1(x)))
        if self.time_emb_proj is not None and time is not None:
            hidden = hidden + self.time_emb_proj(F.silu(time))[:, :, None, None]
        hidden = self.conv2(F.silu(self.norm2(hidden)))
        return hidden + (x if self.conv_shortcut is None else self.conv_shortcut(x))


class Downsample2D(nn.Module):
    """Halve height and width; without padding, zeros go to the right and the bottom only."""

    def __init__(self, channels: int, padding: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x if self.conv.padding != (0, 0) else F.pad(x, (0, 1, 0, 1)))


class Upsample2D(nn.Module):
    """Double height and width, or reach `size` where the way down met an odd number."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        scale = None if size else 2.0
        return self.conv(F.interpolate(x, size, scale, mode="nearest"))
