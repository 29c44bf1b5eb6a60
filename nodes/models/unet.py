"""The UNet that both families share (arXiv:1505.04597, arXiv:2006.11239)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from .attention import BasicTransformerBlock
from .layers import (
    Downsample2D,
    Resample,
    ResnetBlock2D,
    TimestepEmbedding,
    Upsample2D,
    double,
    group_norm,
    halve,
    sinusoid,
)
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
    norm_num_groups: int | None = 32
    norm_eps: float = 1e-5

    def layers(self, level: int) -> int:
        """How many residual blocks a level has on the way down."""
        layers = self.layers_per_block
        return layers if isinstance(layers, int) else layers[level]

    @property
    def skip_widths(self) -> list[int]:
        """The channels of every skip from the way down to the way up, in order."""
        widths = self.block_out_channels
        skips = [widths[0]]
        for level, width in enumerate(widths):
            skips += [width] * (self.layers(level) + (level < len(widths) - 1))
        return skips


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


class LevelKind(NamedTuple):
    """What a block type names: whether its level has attention, and what changes its size.

    That is a convolution ("conv") or a residual block ("resnet").
    """

    attention: bool
    resample: str = "conv"


Kinds = Mapping[str, LevelKind]
TEXT_KINDS: Kinds = {
    "DownBlock2D": LevelKind(False), "CrossAttnDownBlock2D": LevelKind(True),
    "UpBlock2D": LevelKind(False), "CrossAttnUpBlock2D": LevelKind(True),
}  # fmt: skip
Attention = Callable[[Place], nn.Module]
Middle = Literal["attention", "plain", "narrow"] | None
"""The middle: two residual blocks around attention or without it, one alone, or nothing."""


class UNetEncoder(nn.Module):
    """Down and across, each level told the time and, where it has attention, the text.

    `attention` makes the attention of a place, for the levels whose kind has it, and for the
    middle if it has one. `repeated_blocks` are those that it is compiled by.
    """

    repeated_blocks = (ResnetBlock2D, BasicTransformerBlock)

    def __init__(
        self, config: EncoderConfig, kinds: Kinds, attention: Attention, middle: Middle
    ) -> None:
        super().__init__()
        self.config = config
        widths = config.block_out_channels
        last = len(widths) - 1
        self.time_width = 4 * widths[0]
        self.conv_in = nn.Conv2d(config.in_channels, widths[0], 3, padding=1)
        self.time_embedding = TimestepEmbedding(widths[0], self.time_width)
        self.down_blocks = nn.ModuleList()
        for level, block_type in enumerate(config.down_block_types):
            kind = _kind(block_type, kinds, "Down")
            attend = _attentions(kind, attention, "down", level)
            self.down_blocks.append(self.down_block(level, kind, attend))
        self.mid_block = None
        if middle is not None:
            self.mid_block = MidBlock(
                widths[last],
                self.middle_resnet,
                (lambda layer: attention(Place("middle", last, layer)))
                if middle == "attention"
                else None,
                resnets=1 if middle == "narrow" else 2,
            )

    def resnet(self, inputs: int, outputs: int, resample: Resample | None = None) -> ResnetBlock2D:
        """Make a residual block of this network."""
        groups, eps = self.config.norm_num_groups, self.config.norm_eps
        return ResnetBlock2D(inputs, outputs, self.time_width, groups, eps, resample=resample)

    def middle_resnet(self, inputs: int, outputs: int) -> ResnetBlock2D:
        """Make a residual block of the middle."""
        return self.resnet(inputs, outputs)

    def down_block(self, level: int, kind: LevelKind, attention: MakeAttention | None) -> nn.Module:
        """Make a level of the way down."""
        config, widths = self.config, self.config.block_out_channels
        width, downsample = widths[level], None
        if level < len(widths) - 1 and kind.resample == "conv":
            downsample = Downsample2D(width, config.downsample_padding)
        elif level < len(widths) - 1:
            downsample = self.resnet(width, width, halve)
        inputs, layers = widths[max(level - 1, 0)], config.layers(level)
        return DownBlock(inputs, width, layers, self.resnet, attention, downsample)

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
    """Down, across and up again; see UNetEncoder.

    `prediction_type` is what it learnt to predict, where its checkpoint says so.
    """

    prediction_type: str | None = None

    def __init__(
        self, config: UNetConfig, kinds: Kinds, attention: Attention, middle: Middle = "attention"
    ) -> None:
        super().__init__(config, kinds, attention, middle)
        self.config = config
        widths = config.block_out_channels
        self.up_blocks = nn.ModuleList()
        levels = reversed(range(len(widths)))
        for level, block_type in zip(levels, config.up_block_types, strict=True):
            kind = _kind(block_type, kinds, "Up")
            attend = _attentions(kind, attention, "up", level)
            self.up_blocks.append(self.up_block(level, kind, attend))
        self.conv_norm_out = group_norm(config.norm_num_groups, widths[0], config.norm_eps)
        self.conv_out = nn.Conv2d(widths[0], config.out_channels, 3, padding=1)

    def up_block(self, level: int, kind: LevelKind, attention: MakeAttention | None) -> nn.Module:
        """Make a level of the way up."""
        widths, upsample = self.config.block_out_channels, None
        width = widths[level]
        if level > 0 and kind.resample == "conv":
            upsample = Upsample2D(width)
        elif level > 0:
            upsample = self.resnet(width, width, double)
        inputs, last_skip = widths[min(level + 1, len(widths) - 1)], widths[max(level - 1, 0)]
        layers = self.config.layers(level) + 1
        return UpBlock(inputs, width, last_skip, layers, self.resnet, attention, upsample)

    def predict(
        self,
        sample: Tensor,
        time: Tensor,
        text: Tensor | None = None,
        control: Residuals | None = None,
        adapter: tuple[Tensor, ...] = (),
        deep: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Predict (B, out, H, W) from a sample (B, in, H, W), an embedded time and a text.

        Gives as well what comes up to the outermost level from the levels below it; where that is
        given as `deep`, they are not run.
        """
        x, below = self.conv_in(sample), deep
        if below is None:
            x, skips = self.descend(x, time, text, adapter)
        else:
            _, more = self.down_blocks[0](x, time, text, dict(enumerate(adapter)).get(0))
            skips = [x, *more[: self.config.layers(0)]]
        if control is not None:
            kept = control.skips[: len(skips)]
            skips = [skip + more for skip, more in zip(skips, kept, strict=True)]
            x = x + control.middle if below is None else x
        if below is None:
            for block in self.up_blocks[:-1]:
                x = block(x, skips, time, text)
            below = x
        x = self.up_blocks[-1](below, skips, time, text)
        return self.conv_out(F.silu(self.conv_norm_out(x), inplace=True)), below


def _kind(block_type: str, kinds: Kinds, path: str) -> LevelKind:
    known = [f"'{name}'" for name in kinds if path in name]
    if block_type not in kinds or path not in block_type:
        allowed = f"{', '.join(known[:-1])} and {known[-1]}"
        raise ValueError(f"block type '{block_type}' is not implemented, only {allowed}")
    return kinds[block_type]


def _attentions(
    kind: LevelKind, attention: Attention, path: Literal["down", "up"], level: int
) -> MakeAttention | None:
    return (lambda layer: attention(Place(path, level, layer))) if kind.attention else None
