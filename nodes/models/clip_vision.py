"""CLIP's picture encoder, a vision transformer (arXiv:2103.00020, section 2.4)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from .clip_layers import CLIPConfig, CLIPEncoder, layer_norm, read_clip_config


@dataclass(frozen=True, kw_only=True)
class CLIPVisionConfig(CLIPConfig):
    """The fields of a published `config.json` that shape the picture encoder."""

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_attention_heads: int = 12
    num_channels: int = 3
    image_size: int = 224
    patch_size: int = 32
    projection_dim: int = 512


class VisionEmbeddings(nn.Module):
    """Pictures (B, C, side, side) to a mark of the whole and their patches in rows (B, 1+N, D)."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        width, side = config.hidden_size, config.patch_size
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.patch_embedding = nn.Conv2d(config.num_channels, width, side, side, bias=False)
        self.position_embedding = nn.Embedding(1 + (config.image_size // side) ** 2, width)

    def forward(self, pictures: Tensor) -> Tensor:
        patches = self.patch_embedding(pictures).flatten(2).transpose(1, 2)  # B N D
        whole = self.class_embedding.expand(len(patches), 1, -1)
        return torch.cat((whole, patches), dim=1) + self.position_embedding.weight


class CLIPVisionModel(nn.Module):
    """Looks at pictures (B, C, side, side): gives what each is as a whole (B, D)."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = VisionEmbeddings(config)
        self.pre_layrnorm = layer_norm(config)  # as it is spelt in all files
        self.encoder = CLIPEncoder(config, causal=False)
        self.post_layernorm = layer_norm(config)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the network of a parsed `config.json`, weights as torch initialises them."""
        return cls(read_clip_config(CLIPVisionConfig, config))

    def forward(self, pictures: Tensor) -> Tensor:
        return self.post_layernorm(self.states(pictures)[-1][:, 0])

    def states(self, pictures: Tensor) -> list[Tensor]:
        """Give the states (B, 1+N, D) before the first and after every layer."""
        return self.encoder(self.pre_layrnorm(self.embeddings(pictures)))


class CLIPVisionModelWithProjection(nn.Module):
    """Looks at pictures (B, C, side, side): gives each as a whole in the room of texts (B, D)."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        self.config = config
        self.vision_model = CLIPVisionModel(config)
        self.visual_projection = nn.Linear(config.hidden_size, config.projection_dim, bias=False)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the network of a parsed `config.json`, weights as torch initialises them."""
        return cls(read_clip_config(CLIPVisionConfig, config))

    def forward(self, pictures: Tensor) -> Tensor:
        return self.visual_projection(self.vision_model(pictures))
