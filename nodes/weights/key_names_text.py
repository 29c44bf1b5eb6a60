"""The names of CLIP's text encoders: OpenAI's keeps its names, OpenCLIP's has its own."""

from collections.abc import Iterator, Mapping
from typing import Any

from .key_names import SAME, STACKED, TRANSPOSED, Name, layer, unchanged, weight

LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def is_open_clip(config: Mapping[str, Any]) -> bool:
    """Say whether a text encoder is one of OpenCLIP's: these use the exact GELU."""
    return config["hidden_act"] == "gelu"


def text_names(config: Mapping[str, Any]) -> list[Name]:
    """Name every tensor of a CLIPTextModel or CLIPTextModelWithProjection, by its `config.json`."""
    names = list(_open_clip_names(config))
    return names if is_open_clip(config) else unchanged(names)


def text_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Give the shapes that tell one text encoder from another with the same names."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    embeddings = "text_model.embeddings"
    return {
        f"{embeddings}.token_embedding.weight": (config["vocab_size"], width),
        f"{embeddings}.position_embedding.weight": (config["max_position_embeddings"], width),
        "text_model.encoder.layers.0.mlp.fc1.weight": (inner, width),
    }


def _open_clip_names(config: Mapping[str, Any]) -> Iterator[Name]:
    embeddings = "text_model.embeddings"
    positions = f"{embeddings}.position_embedding.weight"
    yield Name("positional_embedding", (positions,), SAME)
    yield from weight(f"{embeddings}.token_embedding", "token_embedding")
    for index in range(config["num_hidden_layers"]):
        ours, original = f"text_model.encoder.layers.{index}", f"transformer.resblocks.{index}"
        for here, there in LAYER.items():
            yield from layer(f"{ours}.{here}", f"{original}.{there}")
        for kind in ("weight", "bias"):
            parts = tuple(f"{ours}.self_attn.{part}_proj.{kind}" for part in "qkv")
            yield Name(f"{original}.attn.in_proj_{kind}", parts, STACKED)
    yield from layer("text_model.final_layer_norm", "ln_final")
    if "CLIPTextModelWithProjection" in config.get("architectures", ()):
        yield Name("text_projection", ("text_projection.weight",), TRANSPOSED)
