"""CLIP's text encoder, the one of OpenAI and those of OpenCLIP (arXiv:2103.00020)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from .clip_layers import CLIPConfig, CLIPEncoder, layer_norm, read_clip_config

# What old configs say of the end token; then it is the largest number of a text.
UNKNOWN_END = 2


@dataclass(frozen=True, kw_only=True)
class CLIPTextConfig(CLIPConfig):
    """The fields of a published `config.json` that shape the text encoder."""

    hidden_size: int = 512
    intermediate_size: int = 2048
    num_attention_heads: int = 8
    vocab_size: int = 49408
    max_position_embeddings: int = 77
    projection_dim: int = 512
    eos_token_id: int = 49407


class TextEmbeddings(nn.Module):
    """Tokens (B, N) to the sums of what stands for them and for their places (B, N, D)."""

    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embedding = nn.Embedding(config.max_position_embeddings, config.hidden_size)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.token_embedding(tokens) + self.position_embedding.weight[: tokens.shape[-1]]


class TextTransformer(nn.Module):
    """Tokens (B, N) to the states of all layers; `final_layer_norm` is left to who reads them."""

    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__()
        self.embeddings = TextEmbeddings(config)
        self.encoder = CLIPEncoder(config, causal=True)
        self.final_layer_norm = layer_norm(config)

    def forward(self, tokens: Tensor) -> list[Tensor]:
        return self.encoder(self.embeddings(tokens))


class CLIPTextModel(nn.Module):
    """Reads tokens (B, N): gives the states (B, N, D) before the first and after every layer."""

    def __init__(self, config: CLIPTextConfig, *, projected: bool) -> None:
        super().__init__()
        self.config = config
        self.text_model = TextTransformer(config)
        self.text_projection = None
        if projected:
            self.text_projection = nn.Linear(config.hidden_size, config.projection_dim, bias=False)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the network of a parsed `config.json`, weights as torch initialises them."""
        projected = config.get("architectures") == ["CLIPTextModelWithProjection"]
        return cls(read_clip_config(CLIPTextConfig, config), projected=projected)

    def forward(self, tokens: Tensor) -> list[Tensor]:
        return self.text_model(tokens)

    def normalised(self, states: Tensor) -> Tensor:
        """Put the states of a layer (B, N, D) through the final layer norm."""
        return self.text_model.final_layer_norm(states)

    def pooled(self, tokens: Tensor, states: Tensor) -> Tensor:
        """Give texts as a whole (B, D): the state of the first end token after the last layer."""
        end = self.config.eos_token_id
        ends = tokens if end == UNKNOWN_END else tokens == end
        place = ends.int().argmax(dim=-1)
        whole = self.normalised(states)[torch.arange(len(tokens), device=tokens.device), place]
        return whole if self.text_projection is None else self.text_projection(whole)
