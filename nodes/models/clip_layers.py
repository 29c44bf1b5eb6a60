"""The transformer of CLIP, which reads texts and pictures alike (arXiv:2103.00020, section 2.4)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import read_config


def quick_gelu(x: Tensor) -> Tensor:
    """Approximate the Gaussian error linear unit by a sigmoid (arXiv:1606.08415, section 2)."""
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {"quick_gelu": quick_gelu, "gelu": F.gelu}


@dataclass(frozen=True, kw_only=True)
class CLIPConfig:
    """The fields of a published `config.json` that shape the transformer."""

    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    num_hidden_layers: int = 12
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5


Config = TypeVar("Config", bound=CLIPConfig)


def read_clip_config(kind: type[Config], config: Mapping[str, Any]) -> Config:
    """Make a config dataclass of a parsed `config.json` of the transformers library.

    Such files also list what any model of that library could be told, of training and of
    generating; it is left aside. Raises ValueError for an activation that is not implemented.
    """
    known = {field.name for field in fields(kind)}
    found = read_config(kind, {name: value for name, value in config.items() if name in known}, {})
    if found.hidden_act not in ACTIVATIONS:
        allowed = ", ".join(repr(name) for name in ACTIVATIONS)
        raise ValueError(
            f"'hidden_act' is implemented for {allowed} only, found {found.hidden_act!r}"
        )
    return found


class CLIPAttention(nn.Module):
    """Multi-head attention of a sequence (B, N, D) to itself; with `causal` to what came before."""

    def __init__(self, config: CLIPConfig, *, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = config.num_attention_heads, causal
        width = config.hidden_size
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        queries, keys, values = (
            project(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # B heads N D/heads
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = F.scaled_dot_product_attention(queries, keys, values, is_causal=self.causal)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))  # B N D


class CLIPMLP(nn.Module):
    """The network of each position."""

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[config.hidden_act]
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.activation(self.fc1(x)))


class CLIPLayer(nn.Module):
    """Positions look at each other, then each thinks for itself."""

    def __init__(self, config: CLIPConfig, *, causal: bool) -> None:
        super().__init__()
        self.layer_norm1 = layer_norm(config)
        self.self_attn = CLIPAttention(config, causal=causal)
        self.layer_norm2 = layer_norm(config)
        self.mlp = CLIPMLP(config)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class CLIPEncoder(nn.Module):
    """Layer after layer; gives the states before the first and after every one, each (B, N, D)."""

    def __init__(self, config: CLIPConfig, *, causal: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            CLIPLayer(config, causal=causal) for _ in range(config.num_hidden_layers)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        states = [x]
        for layer in self.layers:
            states.append(layer(states[-1]))
        return states


def layer_norm(config: CLIPConfig) -> nn.LayerNorm:
    """Normalise states."""
    return nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
