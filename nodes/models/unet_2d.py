"""The UNet of DDPM (arXiv:2006.11239), ADM (arXiv:2105.05233) and NCSN++ (arXiv:2011.13456)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import torch.nn.functional as F
from torch import Tensor, nn

from .attention import SpatialAttention
from .conditioning import embed_label
from .config import read_config
from .layers import (
    GaussianFourierProjection,
    Resample,
    ResnetBlock2D,
    TimestepEmbedding,
    smooth_double,
    smooth_halve,
)
from .skip_blocks import SkipDownBlock, SkipUpBlock
from .unet import Kinds, LevelKind, Place, UNet, UNetConfig
from .unet_blocks import MakeAttention

RESAMPLES = ("conv", "resnet")
VALUES = {
    "class_embed_type": (None, "timestep", "identity"), "downsample_type": RESAMPLES,
    "mid_block_type": ("UNetMidBlock2D", None), "upsample_type": RESAMPLES,
    "resnet_time_scale_shift": ("default", "scale_shift"),
    "time_embedding_type": ("positional", "fourier"),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class UNet2DModelConfig(UNetConfig):
    """`attention_head_dim` is the width of one head; null makes a single head of full width."""

    in_channels: int = 3
    out_channels: int = 3
    attention_head_dim: int | None = 8
    add_attention: bool = True
    attn_norm_num_groups: int | None = None
    center_input_sample: bool = False
    class_embed_type: str | None = None
    downsample_type: str = "conv"
    mid_block_scale_factor: float = 1
    mid_block_type: str | None = "UNetMidBlock2D"
    num_class_embeds: int | None = None
    resnet_time_scale_shift: str = "default"
    time_embedding_type: str = "positional"
    upsample_type: str = "conv"

    def __post_init__(self) -> None:
        for name, values in VALUES.items():
            if getattr(self, name) not in values:
                allowed = ", ".join(repr(value) for value in values)
                found = getattr(self, name)
                raise ValueError(f"'{name}' is implemented for {allowed} only, found {found!r}")
        if self.scale_shift and self.attn_norm_num_groups is None:
            raise ValueError(
                "'resnet_time_scale_shift' is 'scale_shift', so the field 'attn_norm_num_groups' "
                "is needed"
            )
        types = (*self.down_block_types, *self.up_block_types)
        if self.draws and not all("Skip" in block_type for block_type in types):
            raise ValueError("block types with Skip go together with others of their kind only")

    @property
    def scale_shift(self) -> bool:
        """Whether the time scales features, besides being added to them."""
        return self.resnet_time_scale_shift == "scale_shift"

    @property
    def draws(self) -> bool:
        """Whether the picture comes in and goes out at every size (NCSN++)."""
        return any("Skip" in block_type for block_type in self.down_block_types)

    @property
    def fourier(self) -> bool:
        """Whether the network is told noise levels, and divides by them."""
        return self.time_embedding_type == "fourier"

    def attention(self, place: Place) -> SpatialAttention:
        """Make the attention of a place."""
        width = self.block_out_channels[place.level]
        groups, divisor = self.norm_num_groups, 1.0
        if place.path == "middle":
            groups, divisor = self.attn_norm_num_groups or groups, self.mid_block_scale_factor
        elif self.draws:
            groups, divisor = 32, math.sqrt(2)
        heads = width // (self.attention_head_dim or width)
        return SpatialAttention(width, heads, groups, self.norm_eps, divisor)

    def kinds(self) -> Kinds:
        """Give what the block types name."""
        down, up = self.downsample_type, self.upsample_type
        return {
            "DownBlock2D": LevelKind(False), "AttnDownBlock2D": LevelKind(True, down),
            "ResnetDownsampleBlock2D": LevelKind(False, "resnet"),
            "SkipDownBlock2D": LevelKind(False), "AttnSkipDownBlock2D": LevelKind(True),
            "UpBlock2D": LevelKind(False), "AttnUpBlock2D": LevelKind(True, up),
            "ResnetUpsampleBlock2D": LevelKind(False, "resnet"),
            "SkipUpBlock2D": LevelKind(False), "AttnSkipUpBlock2D": LevelKind(True),
        }  # fmt: skip


_FIXED = {
    "act_fn": "silu", "dropout": 0.0, "num_train_timesteps": None, "time_embedding_dim": None,
}  # fmt: skip


class UNet2DModel(UNet):
    """Predicts the noise in a sample (B, C, H, W) at a timestep () or (B,), of a class if told."""

    config: UNet2DModelConfig

    def __init__(self, config: UNet2DModelConfig) -> None:
        middle = "attention" if config.add_attention else "plain"
        super().__init__(
            config, config.kinds(), config.attention, middle if config.mid_block_type else None
        )
        width = config.block_out_channels[0]
        self.time_proj = None
        if config.fourier:
            self.time_proj = GaussianFourierProjection(width)
            self.time_embedding = TimestepEmbedding(2 * width, self.time_width)
        self.class_embedding = self._class_embedding(2 * width if config.fourier else width)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the network of a parsed `config.json`, weights as torch initialises them."""
        return cls(read_config(UNet2DModelConfig, config, _FIXED))

    def _class_embedding(self, wave_width: int) -> nn.Module | None:
        config = self.config
        match config.class_embed_type:
            case "timestep":
                return TimestepEmbedding(wave_width, self.time_width)
            case "identity":
                return nn.Identity()
            case _ if config.num_class_embeds is not None:
                return nn.Embedding(config.num_class_embeds, self.time_width)
            case _:
                return None

    def resnet(self, inputs: int, outputs: int, resample: Resample | None = None) -> ResnetBlock2D:
        config = self.config
        return ResnetBlock2D(
            inputs, outputs, self.time_width,
            None if config.draws else config.norm_num_groups, config.norm_eps,
            scale_shift=config.scale_shift, divisor=math.sqrt(2) if config.draws else 1.0,
            resample=resample, shortcut=config.draws and resample is not None,
        )  # fmt: skip

    def middle_resnet(self, inputs: int, outputs: int) -> ResnetBlock2D:
        config = self.config
        return ResnetBlock2D(
            inputs, outputs, self.time_width, config.norm_num_groups, config.norm_eps,
            scale_shift=config.scale_shift, divisor=config.mid_block_scale_factor,
        )  # fmt: skip

    def down_block(self, level: int, kind: LevelKind, attention: MakeAttention | None) -> nn.Module:
        if not self.config.draws:
            return super().down_block(level, kind, attention)
        widths, layers = self.config.block_out_channels, self.config.layers(level)
        width, inputs = widths[level], widths[max(level - 1, 0)]
        last = level == len(widths) - 1
        downsample = None if last else self.resnet(width, width, smooth_halve)
        return SkipDownBlock(inputs, width, layers, self.resnet, attention, downsample)

    def up_block(self, level: int, kind: LevelKind, attention: MakeAttention | None) -> nn.Module:
        if not self.config.draws:
            return super().up_block(level, kind, attention)
        widths, layers = self.config.block_out_channels, self.config.layers(level) + 1
        width, inputs = widths[level], widths[min(level + 1, len(widths) - 1)]
        upsample = partial(self.resnet, width, width, smooth_double) if level > 0 else None
        return SkipUpBlock(
            inputs, width, widths[max(level - 1, 0)], layers,
            self.resnet, attention, upsample, self.config.norm_eps,
        )  # fmt: skip

    def wave(self, timestep: Tensor) -> Tensor:
        """Give the sinusoid of timesteps, or of the logarithm of noise levels, in float32."""
        return super().wave(timestep) if self.time_proj is None else self.time_proj(timestep)

    def forward(
        self, sample: Tensor, timestep: Tensor, class_label: Tensor | None = None
    ) -> Tensor:
        time = self._tell(self.embed_time(timestep, sample), class_label)
        sample = 2 * sample - 1 if self.config.center_input_sample else sample
        if self.config.draws:
            prediction = self._predict_at_every_size(sample, time)
        else:
            prediction = self.predict(sample, time)[0]
        if self.config.fourier:
            prediction = prediction / timestep.reshape(-1, 1, 1, 1).to(prediction.dtype)
        return prediction

    def _tell(self, time: Tensor, label: Tensor | None) -> Tensor:
        if self.class_embedding is None and label is not None:
            raise ValueError("this network is not told a class label: leave out `class_label`")
        if self.class_embedding is None:
            return time
        if label is None:
            raise ValueError("this network is told a class label: wire `class_label`")
        label = self.wave(label) if self.config.class_embed_type == "timestep" else label
        return time + embed_label(self.class_embedding, label, time.dtype)

    def _predict_at_every_size(self, sample: Tensor, time: Tensor) -> Tensor:
        pictures = [sample]
        for _ in self.down_blocks[1:]:
            pictures.append(smooth_halve(pictures[-1]))
        x, skips = self.descend(self.conv_in(sample), time, None, tuple(pictures[1:]))
        picture = None
        for block in self.up_blocks:
            x, picture = block(x, skips, time, picture)
        x = self.conv_out(F.silu(self.conv_norm_out(x), inplace=True))
        return x if picture is None else x + picture
