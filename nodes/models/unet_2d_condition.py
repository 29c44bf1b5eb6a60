"""The text-conditioned UNet of latent diffusion (arXiv:2112.10752, arXiv:2307.01952)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from .conditioning import ConditioningConfig, Conditions, Depths, embed_conditions, make_embeddings
from .config import read_config
from .layers import TimestepEmbedding, for_all
from .unet import TEXT_KINDS, Place, Residuals, UNet, UNetConfig


@dataclass(frozen=True, kw_only=True)
class UNet2DConditionModelConfig(ConditioningConfig, UNetConfig):
    """The fields of ConditioningConfig, and those of the way up.

    `reverse_transformer_layers_per_block` lists the depths of the way up, smallest size first.
    """

    out_channels: int = 4
    time_cond_proj_dim: int | None = None
    reverse_transformer_layers_per_block: Depths | None = None

    def depth(self, place: Place) -> int:
        """How many transformer blocks stand at a place."""
        reverse = self.reverse_transformer_layers_per_block
        if place.path != "up" or reverse is None:
            return super().depth(place)
        depth = reverse[len(self.block_out_channels) - 1 - place.level]
        return depth if isinstance(depth, int) else depth[place.layer]


_FIXED = {
    "act_fn": "silu", "addition_embed_type_num_heads": 64, "attention_type": "default",
    "center_input_sample": False, "class_embeddings_concat": False, "conv_in_kernel": 3,
    "conv_out_kernel": 3, "cross_attention_norm": None, "dropout": 0.0,
    "dual_cross_attention": False, "mid_block_only_cross_attention": None,
    "mid_block_scale_factor": 1, "num_attention_heads": None, "resnet_out_scale_factor": 1.0,
    "resnet_skip_time_act": False, "resnet_time_scale_shift": "default",
    "time_embedding_act_fn": None, "time_embedding_dim": None,
    "time_embedding_type": "positional", "timestep_post_act": None,
}  # fmt: skip


class UNet2DConditionModel(UNet):
    """Predicts the noise in latents (B, C, H, W) at a timestep, given a text (B, N, width)."""

    config: UNet2DConditionModelConfig
    picture_tokens = 0  # how many tokens of a picture it reads behind those of the text

    def __init__(self, config: UNet2DConditionModelConfig) -> None:
        super().__init__(config, TEXT_KINDS, config.attention, config.middle)
        if config.time_cond_proj_dim is not None:
            width = config.block_out_channels[0]
            self.time_embedding = TimestepEmbedding(
                width, self.time_width, config.time_cond_proj_dim
            )
        embeddings = make_embeddings(config, self.time_width)
        self.class_embedding, self.add_embedding, self.encoder_hid_proj = embeddings

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the network of a parsed `config.json`, weights as torch initialises them."""
        return cls(read_config(UNet2DConditionModelConfig, config, _FIXED))

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        text: Tensor,
        conditions: Conditions = Conditions(),  # noqa: B008 (it cannot change)
        control: Residuals | None = None,
        adapter: tuple[Tensor, ...] = (),
    ) -> Tensor:
        return self.forward_with_deep(sample, timestep, text, conditions, control, adapter)[0]

    def forward_with_deep(
        self,
        sample: Tensor,
        timestep: Tensor,
        text: Tensor,
        conditions: Conditions,
        control: Residuals | None,
        adapter: tuple[Tensor, ...],
        deep: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Predict, with what another step computed below the outermost level or without it."""
        guidance = conditions.guidance
        if (guidance is None) != (self.config.time_cond_proj_dim is None):
            told = (
                "told the guidance scale: wire"
                if guidance is None
                else "not told the guidance scale: leave out"
            )
            raise ValueError(f"this network is {told} `guidance_scale`")
        time = self.embed_time(timestep, sample, guidance)
        time = embed_conditions(self, time, conditions)
        text = text if self.encoder_hid_proj is None else self.encoder_hid_proj(text)
        if conditions.picture is not None:
            text = torch.cat(for_all(text, conditions.picture), dim=1)
        return self.predict(sample, time, text, control, adapter, deep)
