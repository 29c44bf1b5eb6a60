"""The variational autoencoder between pictures and latents (arXiv:2112.10752, section 3.1)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch.nn.functional as F
from torch import Tensor, nn

from .attention import SpatialAttention
from .autoencoder import Autoencoder, Distribution
from .config import read_config
from .layers import Downsample2D, ResnetBlock2D, Upsample2D
from .tiles import in_tiles
from .unet_blocks import MidBlock

EPS = 1e-6


@dataclass(frozen=True, kw_only=True)
class AutoencoderKLConfig:
    """The fields of a published `config.json` that shape the network or scale its latents."""

    in_channels: int = 3
    out_channels: int = 3
    latent_channels: int = 4
    block_out_channels: tuple[int, ...] = (64,)
    down_block_types: tuple[str, ...] = ("DownEncoderBlock2D",)
    up_block_types: tuple[str, ...] = ("UpDecoderBlock2D",)
    layers_per_block: int = 1
    norm_num_groups: int = 32
    sample_size: int = 32
    scaling_factor: float = 0.18215
    shift_factor: float | None = None
    force_upcast: bool = True
    mid_block_add_attention: bool = True
    use_quant_conv: bool = True
    use_post_quant_conv: bool = True
    latents_mean: tuple[float, ...] | None = None
    latents_std: tuple[float, ...] | None = None


_FIXED = {"act_fn": "silu"}


class Level(nn.Module):
    """Residual blocks at one size, then a change of size if there is one."""

    def __init__(self, inputs: int, outputs: int, layers: int, groups: int) -> None:
        super().__init__()
        widths = [inputs, *[outputs] * (layers - 1)]
        self.resnets = nn.ModuleList(
            ResnetBlock2D(width, outputs, None, groups, EPS) for width in widths
        )
        self.downsamplers: nn.ModuleList | None = None
        self.upsamplers: nn.ModuleList | None = None

    def forward(self, x: Tensor) -> Tensor:
        for resnet in self.resnets:
            x = resnet(x)
        for resample in self.downsamplers or self.upsamplers or ():
            x = resample(x)
        return x


class Encoder(nn.Module):
    """Pictures (B, 3, H, W) to the means and log-variances of latents (B, 2·C, H/f, W/f)."""

    def __init__(self, config: AutoencoderKLConfig) -> None:
        super().__init__()
        widths, groups = config.block_out_channels, config.norm_num_groups
        self.conv_in = nn.Conv2d(config.in_channels, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList()
        for level, width in enumerate(widths):
            block = Level(widths[max(level - 1, 0)], width, config.layers_per_block, groups)
            if level < len(widths) - 1:
                block.downsamplers = nn.ModuleList([Downsample2D(width, padding=0)])
            self.down_blocks.append(block)
        self.mid_block = _middle(config)
        self.conv_norm_out = nn.GroupNorm(groups, widths[-1], EPS)
        self.conv_out = nn.Conv2d(widths[-1], 2 * config.latent_channels, 3, padding=1)

    def descend(self, picture: Tensor) -> Tensor:
        """Go down to the size of the latents: what sees no further than a few pixels."""
        x = self.conv_in(picture)
        for block in self.down_blocks:
            x = block(x)
        return x

    def finish(self, x: Tensor) -> Tensor:
        """Look at the picture as a whole, and give the moments."""
        return self.conv_out(F.silu(self.conv_norm_out(self.mid_block(x)), inplace=True))


class Decoder(nn.Module):
    """Latents (B, C, h, w) to pictures (B, 3, f·h, f·w)."""

    def __init__(self, config: AutoencoderKLConfig) -> None:
        super().__init__()
        widths, groups = config.block_out_channels[::-1], config.norm_num_groups
        self.conv_in = nn.Conv2d(config.latent_channels, widths[0], 3, padding=1)
        self.mid_block = _middle(config)
        self.up_blocks = nn.ModuleList()
        for level, width in enumerate(widths):
            block = Level(widths[max(level - 1, 0)], width, config.layers_per_block + 1, groups)
            if level < len(widths) - 1:
                block.upsamplers = nn.ModuleList([Upsample2D(width)])
            self.up_blocks.append(block)
        self.conv_norm_out = nn.GroupNorm(groups, widths[-1], EPS)
        self.conv_out = nn.Conv2d(widths[-1], config.out_channels, 3, padding=1)

    def begin(self, latents: Tensor) -> Tensor:
        """Look at the latents as a whole."""
        return self.mid_block(self.conv_in(latents))

    def ascend(self, x: Tensor) -> Tensor:
        """Go up to the size of the picture: what sees no further than a few latents."""
        for block in self.up_blocks:
            x = block(x)
        return self.conv_out(F.silu(self.conv_norm_out(x), inplace=True))


def _middle(config: AutoencoderKLConfig) -> MidBlock:
    width, groups = config.block_out_channels[-1], config.norm_num_groups
    return MidBlock(
        width,
        lambda inputs, outputs: ResnetBlock2D(inputs, outputs, None, groups, EPS),
        (lambda _: SpatialAttention(width, 1, groups, EPS))
        if config.mid_block_add_attention
        else None,
    )


class AutoencoderKL(Autoencoder):
    """Compresses pictures in [-1, 1] to latents and back, in the autoencoder's own scale."""

    def __init__(self, config: AutoencoderKLConfig) -> None:
        super().__init__()
        _refuse_other_blocks(config)
        channels = config.latent_channels
        self.config = config
        self.encoder = Encoder(config)
        self.quant_conv = (
            nn.Conv2d(2 * channels, 2 * channels, 1) if config.use_quant_conv else None
        )
        self.post_quant_conv = (
            nn.Conv2d(channels, channels, 1) if config.use_post_quant_conv else None
        )
        self.decoder = Decoder(config)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the network of a parsed `config.json`, weights as torch initialises them."""
        return cls(read_config(AutoencoderKLConfig, config, _FIXED))

    @property
    def factor(self) -> int:
        return 2 ** (len(self.config.block_out_channels) - 1)

    @property
    def channels(self) -> int:
        return self.config.latent_channels

    @property
    def overflows(self) -> bool:
        return self.config.force_upcast

    def encode(self, picture: Tensor, tile: int | None = None) -> Distribution:
        tile = tile or picture.numel()
        x = in_tiles(self.encoder.descend, picture, tile, reads=self.factor, gives=1)
        moments = self.encoder.finish(x)
        moments = moments if self.quant_conv is None else self.quant_conv(moments)
        mean, log_variance = moments.chunk(2, dim=1)
        return Distribution(mean, log_variance.clamp(-30, 20))

    def decode(self, latents: Tensor, tile: int | None = None) -> Tensor:
        own = latents if self.post_quant_conv is None else self.post_quant_conv(latents)
        x, tile = self.decoder.begin(own), tile or latents.numel()
        return in_tiles(self.decoder.ascend, x, tile, reads=1, gives=self.factor)

    def scaled(self, own: Tensor) -> Tensor:
        mean, deviation = self._statistics(own)
        return (own - mean) * self.config.scaling_factor / deviation

    def unscaled(self, latents: Tensor) -> Tensor:
        mean, deviation = self._statistics(latents)
        return latents * deviation / self.config.scaling_factor + mean

    def _statistics(self, like: Tensor) -> tuple[Tensor | float, Tensor | float]:
        """Give mean and deviation: of each channel where the config has them, else the shift."""
        mean, deviation = self.config.latents_mean, self.config.latents_std
        if mean is None or deviation is None:
            return self.config.shift_factor or 0.0, 1.0
        each = (like.new_tensor(values)[:, None, None] for values in (mean, deviation))  # C 1 1
        return next(each), next(each)


def _refuse_other_blocks(config: AutoencoderKLConfig) -> None:
    for name, allowed in (("down", "DownEncoderBlock2D"), ("up", "UpDecoderBlock2D")):
        for found in getattr(config, f"{name}_block_types"):
            if found != allowed:
                raise ValueError(f"block type '{found}' is not implemented, only '{allowed}'")
