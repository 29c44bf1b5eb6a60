"""TAESD: a small autoencoder that imitates a large one, for previews and small machines."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .autoencoder import Autoencoder, Distribution
from .config import read_config
from .tiles import in_tiles


@dataclass(frozen=True, kw_only=True)
class AutoencoderTinyConfig:
    """The fields of a published `config.json` that shape the network or scale its latents."""

    in_channels: int = 3
    out_channels: int = 3
    latent_channels: int = 4
    encoder_block_out_channels: tuple[int, ...] = (64, 64, 64, 64)
    decoder_block_out_channels: tuple[int, ...] = (64, 64, 64, 64)
    num_encoder_blocks: tuple[int, ...] = (1, 3, 3, 3)
    num_decoder_blocks: tuple[int, ...] = (3, 3, 3, 1)
    latent_magnitude: float = 3
    latent_shift: float = 0.5
    scaling_factor: float = 1.0
    shift_factor: float = 0.0
    block_out_channels: tuple[int, ...] = ()  # says the decoder's widths again


_FIXED = {
    "act_fn": "relu", "upsample_fn": "nearest", "upsampling_scaling_factor": 2,
    "force_upcast": False,
}  # fmt: skip


class AutoencoderTinyBlock(nn.Module):
    """Three convolutions around a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        convolutions = [nn.Conv2d(width, width, 3, padding=1) for _ in range(3)]
        first, second, third = convolutions
        self.conv = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x) + x)


class Encoder(nn.Module):
    """Pictures in [-1, 1] to latents."""

    def __init__(self, config: AutoencoderTinyConfig) -> None:
        super().__init__()
        widths = config.encoder_block_out_channels
        layers: list[nn.Module] = []
        for level, (width, blocks) in enumerate(
            zip(widths, config.num_encoder_blocks, strict=True)
        ):
            layers.append(
                nn.Conv2d(width, width, 3, padding=1, stride=2, bias=False)
                if level
                else nn.Conv2d(config.in_channels, width, 3, padding=1)
            )
            layers += [AutoencoderTinyBlock(width) for _ in range(blocks)]
        layers.append(nn.Conv2d(widths[-1], config.latent_channels, 3, padding=1))
        self.layers = nn.Sequential(*layers)

    def forward(self, picture: Tensor) -> Tensor:
        return self.layers((picture + 1) / 2)  # it was trained on [0, 1]


class Decoder(nn.Module):
    """Latents to pictures in [-1, 1]."""

    def __init__(self, config: AutoencoderTinyConfig) -> None:
        super().__init__()
        widths = config.decoder_block_out_channels
        layers = [nn.Conv2d(config.latent_channels, widths[0], 3, padding=1), nn.ReLU()]
        for level, (width, blocks) in enumerate(
            zip(widths, config.num_decoder_blocks, strict=True)
        ):
            layers += [AutoencoderTinyBlock(width) for _ in range(blocks)]
            if level < len(widths) - 1:
                layers.append(nn.Upsample(scale_factor=2, mode="nearest"))
                layers.append(nn.Conv2d(width, width, 3, padding=1, bias=False))
        layers.append(nn.Conv2d(widths[-1], config.out_channels, 3, padding=1))
        self.layers = nn.Sequential(*layers)

    def forward(self, latents: Tensor) -> Tensor:
        return 2 * self.layers(3 * torch.tanh(latents / 3)) - 1


class AutoencoderTiny(Autoencoder):
    """Gives at once what the large autoencoder of the same latents gives slowly.

    It reads latents in the scale of UNets, so scaling does nothing as long as the config says so.
    """

    def __init__(self, config: AutoencoderTinyConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the network of a parsed `config.json`, weights as torch initialises them."""
        return cls(read_config(AutoencoderTinyConfig, config, _FIXED))

    @property
    def factor(self) -> int:
        return 2 ** (len(self.config.decoder_block_out_channels) - 1)

    @property
    def channels(self) -> int:
        return self.config.latent_channels

    def encode(self, picture: Tensor, tile: int | None = None) -> Distribution:
        factor = self.factor
        mean = in_tiles(self.encoder, picture, tile or picture.numel(), reads=factor, gives=1)
        return Distribution(mean, torch.full_like(mean, -torch.inf))  # it is sure of itself

    def decode(self, latents: Tensor, tile: int | None = None) -> Tensor:
        return in_tiles(self.decoder, latents, tile or latents.numel(), reads=1, gives=self.factor)

    def scaled(self, own: Tensor) -> Tensor:
        return (own - self.config.shift_factor) * self.config.scaling_factor

    def unscaled(self, latents: Tensor) -> Tensor:
        return latents / self.config.scaling_factor + self.config.shift_factor
