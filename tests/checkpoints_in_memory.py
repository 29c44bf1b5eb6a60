"""Tensors that stand for those of a file, so that no test needs a file of gigabytes."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from nodes.weights import StoredTensor
from nodes.weights.families import part_names, prefixes
from nodes.weights.key_names import to_original


def stored(tensors: Mapping[str, Tensor]) -> dict[str, StoredTensor]:
    return {
        name: StoredTensor(Path("x"), tuple(tensor.shape), tensor.dtype, partial(tensor.reshape, tensor.shape))
        for name, tensor in tensors.items()
    }  # fmt: skip


def read(tensors: Mapping[str, StoredTensor]) -> dict[str, Tensor]:
    return {name: tensor.read() for name, tensor in tensors.items()}


def original(
    networks: Mapping[str, tuple[dict[str, Any], Mapping[str, Tensor]]],
) -> dict[str, StoredTensor]:
    """Name the tensors of networks, each given by its config and state dict, as originals do."""
    found: dict[str, StoredTensor] = {}
    for part, prefix in prefixes({part: config for part, (config, _) in networks.items()}).items():
        config, tensors = networks[part]
        names = to_original(stored(with_prefix(part, tensors)), part_names(part, config))
        found |= {prefix + name: tensor for name, tensor in names.items()}
    return found


def with_prefix(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give a text encoder's tensors the names that they have in files."""
    if not part.startswith("text_encoder"):
        return dict(tensors)
    known = ("text_model.", "text_projection.")
    return {
        name if name.startswith(known) else f"text_model.{name}": tensor
        for name, tensor in tensors.items()
        if not name.endswith("position_ids")
    }
