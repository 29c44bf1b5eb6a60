"""ControlNet: a copy of a UNet's way down that also sees a picture (arXiv:2302.05543)."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import torch.nn.functional as F
from torch import Tensor, nn

from .conditioning import (
    ConditioningConfig,
    Conditions,
    embed_conditions,
    make_embeddings,
    refusal,
)
from .config import read_config
from .unet import TEXT_KINDS, Residuals, UNetEncoder


@dataclass(frozen=True, kw_only=True)
class ControlNetModelConfig(ConditioningConfig):
    """The fields of ConditioningConfig, and how the picture is read."""

    conditioning_channels: int = 3
    conditioning_embedding_out_channels: tuple[int, ...] = (16, 32, 96, 256)
    controlnet_conditioning_channel_order: str = "rgb"
    global_pool_conditions: bool = False

    def __post_init__(self) -> None:
        order = self.controlnet_conditioning_channel_order
        if order not in ("rgb", "bgr"):
            raise refusal("controlnet_conditioning_channel_order", order, "rgb", "bgr")


_FIXED = {
    "act_fn": "silu", "addition_embed_type_num_heads": 64, "mid_block_scale_factor": 1,
    "num_attention_heads": None, "resnet_time_scale_shift": "default",
}  # fmt: skip


class ControlNetConditioningEmbedding(nn.Module):
    """A picture (B, 3, 8·h, 8·w) as features (B, C, h, w) that join the first of the UNet."""

    def __init__(self, inputs: int, widths: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(inputs, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList()
        for width, next_width in pairwise(widths):
            self.blocks.append(nn.Conv2d(width, width, 3, padding=1))
            self.blocks.append(nn.Conv2d(width, next_width, 3, padding=1, stride=2))
        self.conv_out = nn.Conv2d(widths[-1], outputs, 3, padding=1)

    def forward(self, picture: Tensor) -> Tensor:
        x = F.silu(self.conv_in(picture))
        for block in self.blocks:
            x = F.silu(block(x))
        return self.conv_out(x)


class ControlNetModel(UNetEncoder):
    """Reads a sample, a text and a picture; gives what a UNet of the same family adds.

    The picture (B, 3, H, W) has values in [0, 1].
    """

    config: ControlNetModelConfig

    def __init__(self, config: ControlNetModelConfig) -> None:
        super().__init__(config, TEXT_KINDS, config.attention, config.middle)
        widths = config.block_out_channels
        embeddings = make_embeddings(config, self.time_width)
        self.class_embedding, self.add_embedding, self.encoder_hid_proj = embeddings
        self.controlnet_cond_embedding = ControlNetConditioningEmbedding(
            config.conditioning_channels, config.conditioning_embedding_out_channels, widths[0]
        )
        self.controlnet_down_blocks = nn.ModuleList(
            nn.Conv2d(width, width, 1) for width in config.skip_widths
        )
        self.controlnet_mid_block = nn.Conv2d(widths[-1], widths[-1], 1)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the network of a parsed `config.json`, weights as torch initialises them."""
        return cls(read_config(ControlNetModelConfig, config, _FIXED))

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        text: Tensor,
        picture: Tensor,
        conditions: Conditions = Conditions(),  # noqa: B008 (it cannot change)
    ) -> Residuals:
        if self.config.controlnet_conditioning_channel_order == "bgr":
            picture = picture.flip(1)
        time = embed_conditions(self, self.embed_time(timestep, sample), conditions)
        text = text if self.encoder_hid_proj is None else self.encoder_hid_proj(text)
        x = self.conv_in(sample) + self.controlnet_cond_embedding(picture)
        x, skips = self.descend(x, time, text)
        residuals = [
            layer(skip) for layer, skip in zip(self.controlnet_down_blocks, skips, strict=True)
        ]
        middle = self.controlnet_mid_block(x)
        if self.config.global_pool_conditions:
            *residuals, middle = (
                part.mean(dim=(2, 3), keepdim=True) for part in (*residuals, middle)
            )
        return Residuals(tuple(residuals), middle)
