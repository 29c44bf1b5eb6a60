"""Stored tensors into a file, one at a time, so that no more than one is in memory."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .checkpoint import Checkpoint
from .clip_vocabulary import without_vocabularies
from .component import Component, StoredTensor
from .families import has_original_names, part_names, prefixes
from .key_names import to_original
from .load import current_name
from .single_file import FILES
from .stored import DTYPES

_NAMES = {dtype: name for name, dtype in DTYPES.items()}
ALIGNMENT = 8


def write_tensors(
    path: Path,
    tensors: Mapping[str, StoredTensor],
    dtype: torch.dtype | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a safetensors file; weights become `dtype`, or stay as they are.

    The largest kinds of numbers come first, so that all are aligned. Raises ValueError for a
    weight that is finite and would not be in `dtype`.
    """
    kinds = {name: _kind(tensor, dtype) for name, tensor in tensors.items()}
    order = sorted(tensors, key=lambda name: (-kinds[name].itemsize, name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt", **(metadata or {})}}
    end = 0
    for name in order:
        shape = tensors[name].shape
        start, end = end, end + kinds[name].itemsize * torch.Size(shape).numel()
        kind = _NAMES[kinds[name]]
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little"))
        stream.write(text)
        for name in order:
            tensor = _converted(name, tensors[name].read(), kinds[name])
            stream.write(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
            tensors[name].release()


def _kind(tensor: StoredTensor, dtype: torch.dtype | None) -> torch.dtype:
    return dtype if dtype is not None and tensor.dtype.is_floating_point else tensor.dtype


def _converted(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    converted = tensor.to(dtype)
    if dtype is torch.float16 and tensor.dtype.itemsize > 1 and tensor.dtype is not dtype:
        largest = tensor.abs().max().item()
        if converted.isinf().any() and not tensor.isinf().any():
            raise ValueError(
                f"{name} holds {largest:g}, which float16 cannot: write bfloat16 or float32"
            )
    return converted


def write_single_file(path: Path, checkpoint: Checkpoint, dtype: torch.dtype | None = None) -> None:
    """Write a checkpoint under the names of original files, its small files in the metadata.

    Raises ValueError for a part that has no such names.
    """
    configs = {part: component.config for part, component in checkpoint.components.items()}
    tensors: dict[str, StoredTensor] = {}
    for part, component in checkpoint.components.items():
        if not has_original_names(part, component.config):
            kind = component.config.get("_class_name") or component.config.get("model_type")
            raise ValueError(f"there are no names for {part} ({kind}) in an original single file")
    for part, prefix in prefixes(configs).items():
        component = checkpoint.components[part]
        names = part_names(part, component.config)
        wanted = {ours for name in names for ours in name.ours}
        try:
            original = to_original(_named(component, wanted), names)
        except ValueError as error:
            raise ValueError(f"{part} does not fit its config: {error}") from error
        tensors |= {prefix + key: tensor for key, tensor in original.items()}
    files = json.dumps(without_vocabularies(checkpoint.files), ensure_ascii=False)
    write_tensors(path, tensors, dtype, {**checkpoint.metadata, FILES: files})


def _named(component: Component, wanted: set[str]) -> dict[str, StoredTensor]:
    """Give tensors the names of today: folders may have older ones, or CLIP without its prefix."""
    named: dict[str, StoredTensor] = {}
    for key, tensor in component.tensors.items():
        if not key.endswith("embeddings.position_ids"):
            prefixed = f"text_model.{key}"
            name = prefixed if prefixed in wanted else current_name(key, wanted)
            if name != "":
                named[name or key] = tensor
    return named
