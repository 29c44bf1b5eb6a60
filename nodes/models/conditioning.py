"""What text-conditioned networks are told besides the time and the text."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from .attention import Transformer2DModel
from .layers import TimestepEmbedding, for_all, sinusoid
from .unet import EncoderConfig, Middle, Place

Depths = tuple[int | tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class ConditioningConfig(EncoderConfig):
    """The fields that UNet2DConditionModel and ControlNetModel share.

    `attention_head_dim` is the number of heads, whatever its name says; one, or one a level.
    `transformer_layers_per_block` is one depth, one a level, or one for each layer of a level.
    """

    in_channels: int = 4
    norm_num_groups: int = 32
    cross_attention_dim: int = 1280
    attention_head_dim: int | tuple[int, ...] = 8
    use_linear_projection: bool = False
    upcast_attention: bool = False  # the fused attention kernel sums in float32 anyway
    only_cross_attention: bool | tuple[bool, ...] = False
    transformer_layers_per_block: int | Depths = 1
    mid_block_type: str | None = "UNetMidBlock2DCrossAttn"
    class_embed_type: str | None = None
    num_class_embeds: int | None = None
    addition_embed_type: str | None = None
    addition_time_embed_dim: int | None = None
    projection_class_embeddings_input_dim: int | None = None
    encoder_hid_dim: int | None = None
    encoder_hid_dim_type: str | None = None

    @property
    def middle(self) -> Middle:
        """What stands in the middle of the network."""
        kinds: dict[str | None, Middle] = {
            "UNetMidBlock2DCrossAttn": "attention", "UNetMidBlock2D": "narrow", None: None
        }  # fmt: skip
        if self.mid_block_type not in kinds:
            raise refusal("mid_block_type", self.mid_block_type, *kinds)
        return kinds[self.mid_block_type]

    def depth(self, place: Place) -> int:
        """How many transformer blocks stand at a place."""
        depths = self.transformer_layers_per_block
        depth = depths if isinstance(depths, int) else depths[place.level]
        return depth if isinstance(depth, int) else depth[place.layer]

    def attention(self, place: Place) -> Transformer2DModel:
        """Make the attention of a place."""
        heads, only_text = self.attention_head_dim, self.only_cross_attention
        if not isinstance(only_text, bool):
            only_text = only_text[place.level]
        return Transformer2DModel(
            self.block_out_channels[place.level],
            self.cross_attention_dim,
            heads if isinstance(heads, int) else heads[place.level],
            self.norm_num_groups,
            depth=self.depth(place),
            linear=self.use_linear_projection,
            only_text=only_text and place.path != "middle",
        )


class Conditions(NamedTuple):
    """What one call may be told; a network needs those that its config names, and no other.

    class_label: a number (B,), or a vector (B, D) where the config projects one
    pooled_text: the text as one vector (B, D)
    size: numbers of the picture's size and crop (B, 6), or (B, 5) for the refiner
    guidance: the guidance scale, embedded (B, D), for networks that were distilled with it
    picture: tokens of a picture (B, N, D), for networks with an IP-Adapter
    """

    class_label: Tensor | None = None
    pooled_text: Tensor | None = None
    size: Tensor | None = None
    guidance: Tensor | None = None
    picture: Tensor | None = None


class Embeddings(NamedTuple):
    """The layers that read the conditions, under the names that the files give them."""

    class_embedding: nn.Module | None
    add_embedding: TimestepEmbedding | None
    encoder_hid_proj: nn.Linear | None


class Conditioned(Protocol):
    """A network with the layers of Embeddings."""

    class_embedding: nn.Module | None
    add_embedding: TimestepEmbedding | None

    @property
    def config(self) -> ConditioningConfig:
        """What the network was built of."""
        ...

    def wave(self, timestep: Tensor) -> Tensor:
        """Give the sinusoid of timesteps."""
        ...


def make_embeddings(config: ConditioningConfig, time_width: int) -> Embeddings:
    """Make the layers for the conditions that a config names."""
    projected = config.projection_class_embeddings_input_dim
    width = config.block_out_channels[0]
    added = projection = None
    if config.addition_embed_type == "text_time":
        added = TimestepEmbedding(
            _required(config, "projection_class_embeddings_input_dim"), time_width
        )
    elif config.addition_embed_type is not None:
        raise refusal("addition_embed_type", config.addition_embed_type, "text_time", None)
    if config.encoder_hid_dim_type not in (None, "text_proj"):
        raise refusal("encoder_hid_dim_type", config.encoder_hid_dim_type, "text_proj", None)
    if config.encoder_hid_dim is not None:
        projection = nn.Linear(config.encoder_hid_dim, config.cross_attention_dim)
    match config.class_embed_type:
        case None if config.num_class_embeds is not None:
            label = nn.Embedding(config.num_class_embeds, time_width)
        case None:
            label = None
        case "timestep":
            label = TimestepEmbedding(width, time_width)
        case "projection" if projected is not None:
            label = TimestepEmbedding(projected, time_width)
        case other:
            raise refusal("class_embed_type", other, "timestep", "projection", None)
    return Embeddings(label, added, projection)


def embed_conditions(network: Conditioned, time: Tensor, conditions: Conditions) -> Tensor:
    """Add the class label, the pooled text and the size to the embedded time (B, time width).

    Raises ValueError for a condition that the network needs and does not get, or gets and has no
    use for.
    """
    _check(network, conditions)
    config, label = network.config, conditions.class_label
    if network.class_embedding is not None and label is not None:
        if config.class_embed_type == "timestep":
            label = network.wave(label)
        time = time + embed_label(network.class_embedding, label, time.dtype)
    pooled, size = conditions.pooled_text, conditions.size
    if network.add_embedding is not None and pooled is not None and size is not None:
        width = _required(config, "addition_time_embed_dim")
        numbers = sinusoid(
            size.flatten(), width, cosine_first=config.flip_sin_to_cos, shift=config.freq_shift
        )
        told = torch.cat(for_all(pooled, numbers.reshape(len(size), -1)), dim=-1)
        expected = config.projection_class_embeddings_input_dim
        if told.shape[-1] != expected:
            raise ValueError(
                f"this network is told {expected} numbers of text and size, `pooled_text` has "
                f"{pooled.shape[-1]} and `size` {size.shape[-1]} times {width}: "
                "are both those of its family?"
            )
        time = time + network.add_embedding(told.to(time.dtype))
    return time


def embed_label(embedding: nn.Module, label: Tensor, dtype: torch.dtype) -> Tensor:
    """Embed class labels, numbers (B,) or vectors (B, D), in the precision of the network."""
    return embedding(label.to(dtype) if label.is_floating_point() else label)


def _check(network: Conditioned, conditions: Conditions) -> None:
    needed = {
        "class_label": network.class_embedding is not None,
        "pooled_text": network.add_embedding is not None,
        "size": network.add_embedding is not None,
    }
    for name, needs in needed.items():
        given = getattr(conditions, name) is not None
        if needs and not given:
            raise ValueError(f"this network is told a {name.replace('_', ' ')}: wire `{name}`")
        if given and not needs:
            raise ValueError(
                f"this network is not told a {name.replace('_', ' ')}: leave out `{name}`"
            )


def _required(config: ConditioningConfig, name: str) -> int:
    value = getattr(config, name)
    if value is None:
        raise ValueError(f"'addition_embed_type' is 'text_time', so the field '{name}' is needed")
    return value


def refusal(name: str, found: object, *known: object) -> ValueError:
    """Say that a field of a config has a value that is not implemented."""
    allowed = ", ".join(repr(value) for value in known)
    return ValueError(f"'{name}' is implemented for {allowed} only, found {found!r}")
