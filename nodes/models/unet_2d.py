"""The unconditional UNet of DDPM (arXiv:2006.11239)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from torch import Tensor

from .attention import SpatialAttention
from .config import read_config
from .unet import Place, UNet, UNetConfig


@dataclass(frozen=True, kw_only=True)
class UNet2DModelConfig(UNetConfig):
    """`attention_head_dim` is the width of one head; null makes a single head of full width."""

    in_channels: int = 3
    out_channels: int = 3
    attention_head_dim: int | None = 8
    add_attention: bool = True


_FIXED = {
    "act_fn": "silu", "attn_norm_num_groups": None, "center_input_sample": False,
    "class_embed_type": None, "downsample_type": "conv", "dropout": 0.0,
    "mid_block_scale_factor": 1, "mid_block_type": "UNetMidBlock2D", "num_class_embeds": None,
    "num_train_timesteps": None, "resnet_time_scale_shift": "default",
    "time_embedding_type": "positional", "upsample_type": "conv",
}  # fmt: skip


class UNet2DModel(UNet):
    """Predicts the noise in a sample (B, C, H, W) at a timestep () or (B,)."""

    config: UNet2DModelConfig

    def __init__(self, config: UNet2DModelConfig) -> None:
        def attention(place: Place) -> SpatialAttention:
            width = config.block_out_channels[place.level]
            heads = width // (config.attention_head_dim or width)
            return SpatialAttention(width, heads, config.norm_num_groups, config.norm_eps)

        super().__init__(
            config, "Attn", attention, middle="attention" if config.add_attention else "plain"
        )

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the network of a parsed `config.json`, weights as torch initialises them."""
        return cls(read_config(UNet2DModelConfig, config, _FIXED))

    def forward(self, sample: Tensor, timestep: Tensor) -> Tensor:
        return self.predict(sample, self.embed_time(timestep, sample))
