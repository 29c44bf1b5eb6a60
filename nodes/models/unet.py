"""The UNet that both families share (arXiv:1505.04597, arXiv:2006.11239)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from .layers import ResnetBlock2D, TimestepEmbedding, sinusoid
from .unet_blocks import DownBlock, MakeAttention, MidBlock, UpBlock


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """The fields of a published `config.json` that shape the way down, of UNets and ControlNets."""

    in_channels: int
    block_out_channels: tuple[int, ...]
    down_block_types: tuple[str, ...]
    layers_per_block: int | tuple[int, ...] = 2
    downsample_padding: int = 1
    flip_sin_to_cos: bool = True
    freq_shift: int = 0
    norm_num_groups: int = 32
    norm_eps: float = 1e-5

    def layers(self, level: int) -> int:
        """How many residual blocks a level has on the way down."""
        layers = self.layers_per_block
        return layers if isinstance(layers, int) else layers[level]


@dataclass(frozen=True, kw_only=True)
class UNetConfig(EncoderConfig):
    """The fields of a published `config.json` that shape every UNet."""

    sample_size: int | None
    out_channels: int
    up_block_types: tuple[str, ...]


class Place(NamedTuple):
    """Where in a network an attention stands: after the residual block `layer` of a level."""

    path: Literal["down", "middle", "up"]
    level: int
    layer: int


class Residuals(NamedTuple):
    """What a ControlNet adds: to every skip, and to the middle."""

    skips: tuple[Tensor, ...]
    middle: Tensor


Attention = Callable[[Place], nn.Module]
Middle = Literal["attention", "plain", "narrow"] | None
"""The middle: two residual blocks around attention or without it, one alone, or nothing."""


class UNetEncoder(nn.Module):
    """Down and across, each level told the time and, where it has attention, the text.

    `attention` makes the attention of a place, for the levels whose block type starts with
    `prefix`, and for the middle if it has one.
    """

    def __init__(
        self, config: EncoderConfig, prefix: str, attention: Attention, middle: Middle
    ) -> None:
        super().__init__()
        self.config = config
        widths = config.block_out_channels
        last = len(widths) - 1
        self.time_width = 4 * widths[0]
        self.conv_in = nn.Conv2d(config.in_channels, widths[0], 3, padding=1)
        self.time_embedding = TimestepEmbedding(widths[0], self.time_width)
        self.down_blocks = nn.ModuleList(
            DownBlock(
                widths[max(level - 1, 0)],
                widths[level],
                config.layers(level),
                self.resnet,
                _attentions(block_type, "DownBlock2D", prefix, attention, level),
                config.downsample_padding if level < last else None,
            )
            for level, block_type in enumerate(config.down_block_types)
        )
        self.mid_block = None
        if middle is not None:
            self.mid_block = MidBlock(
                widths[last],
                self.resnet,
                (lambda layer: attention(Place("middle", last, layer)))
                if middle == "attention"
                else None,
                resnets=1 if middle == "narrow" else 2,
            )

    def resnet(self, inputs: int, outputs: int) -> ResnetBlock2D:
        """Make a residual block of this network."""
        groups, eps = self.config.norm_num_groups, self.config.norm_eps
        return ResnetBlock2D(inputs, outputs, self.time_width, groups, eps)

    def embed_time(
        self, timestep: Tensor, sample: Tensor, guidance: Tensor | None = None
    ) -> Tensor:
        """Embed timesteps () or (B,) as (1, time width) or (B, time width)."""
        return self.time_embedding(self.wave(timestep).to(sample.dtype), guidance)

    def wave(self, timestep: Tensor) -> Tensor:
        """Give the sinusoid of timesteps, in float32."""
        return sinusoid(
            timestep.reshape(-1),
            self.config.block_out_channels[0],
            cosine_first=self.config.flip_sin_to_cos,
            shift=self.config.freq_shift,
        )

    def descend(
        self, x: Tensor, time: Tensor, text: Tensor | None, adapter: tuple[Tensor, ...] = ()
    ) -> tuple[Tensor, list[Tensor]]:
        """Go from the first features to the middle; gives its output and the skips."""
        skips = [x]
        features = dict(enumerate(adapter))
        for level, block in enumerate(self.down_blocks):
            x, more = block(x, time, text, features.get(level))
            skips += more
        return x if self.mid_block is None else self.mid_block(x, time, text), skips


class UNet(UNetEncoder):
    """Down, across and up again; see UNetEncoder."""

    def __init__(
        self, config: UNetConfig, prefix: str, attention: Attention, middle: Middle = "attention"
    ) -> None:
        super().__init__(config, prefix, attention, middle)
        self.config = config
        widths = config.block_out_channels
        last = len(widths) - 1
        self.up_blocks = nn.ModuleList(
            UpBlock(
                widths[min(level + 1, last)],
                widths[level],
                widths[max(level - 1, 0)],
                config.layers(level) + 1,
                self.resnet,
                _attentions(block_type, "UpBlock2D", prefix, attention, level),
                upsample=level > 0,
            )
            for level, block_type in zip(
                reversed(range(len(widths))), config.up_block_types, strict=True
            )
        )
        self.conv_norm_out = nn.GroupNorm(config.norm_num_groups, widths[0], config.norm_eps)
        self.conv_out = nn.Conv2d(widths[0], config.out_channels, 3, padding=1)

    def predict(
        self,
        sample: Tensor,
        time: Tensor,
        text: Tensor | None = None,
        control: Residuals | None = None,
        adapter: tuple[Tensor, ...] = (),
    ) -> Tensor:
        """Predict (B, out, H, W) from a sample (B, in, H, W), an embedded time and a text."""
        x, skips = self.descend(self.conv_in(sample), time, text, adapter)
        if control is not None:
            skips = [skip + more for skip, more in zip(skips, control.skips, strict=True)]
            x = x + control.middle
        for block in self.up_blocks:
            x = block(x, skips, time, text)
        return self.conv_out(F.silu(self.conv_norm_out(x)))


def _attentions(
    block_type: str, plain: str, prefix: str, attention: Attention, level: int
) -> MakeAttention | None:
    if block_type not in (plain, prefix + plain):
        allowed = f"'{plain}' and '{prefix}{plain}'"
        raise ValueError(f"block type '{block_type}' is not implemented, only {allowed}")
    if block_type == plain:
        return None
    path = "down" if plain.startswith("Down") else "up"
    return lambda layer: attention(Place(path, level, layer))
