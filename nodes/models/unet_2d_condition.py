"""The text-conditioned UNet of latent diffusion (arXiv:2112.10752)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from .attention import Transformer2DModel
from .config import read_config
from .unet import UNet, UNetConfig


@dataclass(frozen=True, kw_only=True)
class UNet2DConditionModelConfig(UNetConfig):
    """`attention_head_dim` is the number of heads, whatever its name says; one, or one a level."""

    in_channels: int = 4
    out_channels: int = 4
    cross_attention_dim: int = 1280
    attention_head_dim: int | tuple[int, ...] = 8
    use_linear_projection: bool = False
    upcast_attention: bool = False  # the fused attention kernel sums in float32 anyway


_FIXED = {
    "act_fn": "silu", "addition_embed_type": None, "addition_embed_type_num_heads": 64,
    "addition_time_embed_dim": None, "attention_type": "default", "center_input_sample": False,
    "class_embed_type": None, "class_embeddings_concat": False, "conv_in_kernel": 3,
    "conv_out_kernel": 3, "cross_attention_norm": None, "dropout": 0.0,
    "dual_cross_attention": False, "encoder_hid_dim": None, "encoder_hid_dim_type": None,
    "mid_block_only_cross_attention": None, "mid_block_scale_factor": 1,
    "mid_block_type": "UNetMidBlock2DCrossAttn", "num_attention_heads": None,
    "num_class_embeds": None, "only_cross_attention": False,
    "projection_class_embeddings_input_dim": None, "resnet_out_scale_factor": 1.0,
    "resnet_skip_time_act": False, "resnet_time_scale_shift": "default",
    "reverse_transformer_layers_per_block": None, "time_cond_proj_dim": None,
    "time_embedding_act_fn": None, "time_embedding_dim": None,
    "time_embedding_type": "positional", "timestep_post_act": None,
    "transformer_layers_per_block": 1,
}  # fmt: skip


class UNet2DConditionModel(UNet):
    """Predicts the noise in latents (B, C, H, W) at a timestep, given a text (B, N, width)."""

    config: UNet2DConditionModelConfig

    def __init__(self, config: UNet2DConditionModelConfig) -> None:
        heads = config.attention_head_dim

        def attention(level: int) -> Transformer2DModel:
            return Transformer2DModel(
                config.block_out_channels[level],
                config.cross_attention_dim,
                heads if isinstance(heads, int) else heads[level],
                config.norm_num_groups,
                linear=config.use_linear_projection,
            )

        super().__init__(config, "CrossAttn", attention)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the network of a parsed `config.json`, weights as torch initialises them."""
        return cls(read_config(UNet2DConditionModelConfig, config, _FIXED))
