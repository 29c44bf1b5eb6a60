"""T2I-Adapter: a small network that reads a picture once for all steps (arXiv:2302.08453)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch.nn.functional as F
from torch import Tensor, nn

from .config import read_config


@dataclass(frozen=True, kw_only=True)
class T2IAdapterConfig:
    """The fields of a published `config.json`; `adapter_type` is one of three."""

    in_channels: int = 3
    channels: tuple[int, ...] = (320, 640, 1280, 1280)
    num_res_blocks: int = 2
    downscale_factor: int = 8
    adapter_type: str = "full_adapter"


class ResidualBlock(nn.Module):
    """Two convolutions around a shortcut."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.block1 = nn.Conv2d(width, width, 3, padding=1)
        self.block2 = nn.Conv2d(width, width, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block2(F.relu(self.block1(x)))


class Block(nn.Module):
    """One level of an adapter: half the size if `down`, then residual blocks.

    A light one works at a quarter of its width.
    """

    def __init__(self, inputs: int, outputs: int, layers: int, *, down: bool, light: bool) -> None:
        super().__init__()
        width = outputs // 4 if light else outputs
        self.down = down
        self.in_conv = nn.Conv2d(inputs, width, 1) if light or inputs != outputs else None
        self.resnets = nn.Sequential(
            *(ResidualBlock(width, kernel=3 if light else 1) for _ in range(layers))
        )
        self.out_conv = nn.Conv2d(width, outputs, 1) if light else None

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(x, 2, ceil_mode=True) if self.down else x
        x = self.resnets(x if self.in_conv is None else self.in_conv(x))
        return x if self.out_conv is None else self.out_conv(x)


class Adapter(nn.Module):
    """The levels of an adapter, whichever of the three it is."""

    def __init__(self, config: T2IAdapterConfig) -> None:
        super().__init__()
        widths, last = config.channels, len(config.channels) - 1
        inputs = config.in_channels * config.downscale_factor**2
        # Of each level: the width it reads, the width it gives, whether it halves the size.
        match config.adapter_type:
            case "full_adapter":
                levels = [(widths[max(i - 1, 0)], widths[i], i > 0) for i in range(last + 1)]
            case "full_adapter_xl":
                reads = [widths[i - 1] if i in (1, 2) else widths[i] for i in range(last + 1)]
                levels = [(reads[i], widths[i], i == 2) for i in range(last + 1)]
            case "light_adapter":
                wide = [inputs, *widths, widths[last]]
                levels = [(wide[i], wide[i + 1], i > 0) for i in range(last + 2)]
            case other:
                known = "'full_adapter', 'full_adapter_xl' and 'light_adapter'"
                raise ValueError(f"adapter type '{other}' is not implemented, only {known}")
        light = config.adapter_type == "light_adapter"
        self.downscale_factor = config.downscale_factor
        self.conv_in = None if light else nn.Conv2d(inputs, widths[0], 3, padding=1)
        self.body = nn.ModuleList(
            Block(read, give, config.num_res_blocks, down=down, light=light)
            for read, give, down in levels
        )

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        x = F.pixel_unshuffle(picture, self.downscale_factor)
        x = x if self.conv_in is None else self.conv_in(x)
        features: list[Tensor] = []
        for block in self.body:
            x = block(x)
            features.append(x)
        return tuple(features)


class T2IAdapter(nn.Module):
    """A picture (B, C, H, W) in [0, 1] to the features that each level of a UNet adds."""

    def __init__(self, config: T2IAdapterConfig) -> None:
        super().__init__()
        self.config = config
        self.adapter = Adapter(config)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the network of a parsed `config.json`, weights as torch initialises them."""
        return cls(read_config(T2IAdapterConfig, config, {}))

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        return self.adapter(picture)
