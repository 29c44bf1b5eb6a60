"""LoRA (arXiv:2106.09685): small files that change what a network draws."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn

from graph import came_from, node

from .fitting import FAMILIES
from .kinds import Device
from .load import Digest, Model, check_digests
from .models import (
    UNet,
    UNet2DConditionModel,
    Weighted,
    is_quantized,
    with_layers,
    with_weight,
)
from .text import TextEncoder
from .weights import (
    Change,
    Changes,
    find_file,
    find_single_file,
    layer_names,
    read_lora,
    unet_names,
)

Changed = TypeVar("Changed", bound=UNet | TextEncoder)
Weight = Annotated[float, Field(description="1 = as trained, 0 = nothing, -1 = the opposite")]
SHOWN = 3


@dataclass(frozen=True)
class LoRA:
    """What a file adds to the weights of a UNet and of text encoders."""

    name: str
    changes: Changes


def find_small_file(model: str, file: str, revision: str | None) -> Path:
    """Find a file that stands alone, or in a folder or repository."""
    path = find_single_file(model) or find_file(model, file, revision)
    if path is None:
        raise FileNotFoundError(f"'{model}' has no {file}: say which in `file`")
    return path


def small_files(model: str, file: str, revision: str | None) -> list[Path]:
    """List the one file."""
    return [find_small_file(model, file, revision)]


@node(reads=small_files)
def load_lora(
    model: Model,
    device: Device,
    file: Annotated[
        str, Field(description="its name in a folder or repository")
    ] = "pytorch_lora_weights.safetensors",
    revision: str | None = None,
    sha256: Digest = None,
) -> LoRA:
    """Load a LoRA, LoCon, LoHa or LoKr, as diffusers, PEFT, kohya or LyCORIS wrote it."""
    path = find_small_file(model, file, revision)
    check_digests([path], sha256)
    return came_from(LoRA(path.name, read_lora(path, device)), path)


@node
def apply_lora(model: Changed, lora: LoRA, weight: Weight = 1.0) -> Changed:
    """Give the UNet or text encoder that a LoRA makes of another, which stays as it is.

    The new one has weights of its own where the LoRA changes them, merged, so that a step costs
    what it cost; all else it shares. One that the LoRA has nothing for is given as it is. Raises
    ValueError for a LoRA of another family.
    """
    if isinstance(model, TextEncoder):
        clip = model.clip
        part = "text_encoder" if clip.text_projection is None else "text_encoder_2"
        names = layer_names(_layers(clip))
        return replace(model, network=_merged(clip, lora, part, names, weight))
    config: Mapping[str, Any] = vars(model.config)
    original = unet_names(config) if isinstance(model, UNet2DConditionModel) else []
    return _merged(model, lora, "unet", layer_names(_layers(model), original), weight)


def _layers(network: nn.Module) -> dict[str, Weighted]:
    return {name: it for name, it in network.named_modules() if isinstance(it, Weighted)}


def _merged(network: Any, lora: LoRA, part: str, names: Mapping[str, str], weight: float) -> Any:
    changes, layers = lora.changes.get(part, {}), _layers(network)
    if changes and is_quantized(network):
        raise ValueError("`model` is in eight bits: apply the LoRA first, then `quantize`")
    unknown = [name for name in changes if names.get(name) not in layers]
    if unknown:
        raise ValueError(_other_family(network, lora, part, _listed_layers(network, unknown)))
    merged: dict[str, nn.Module] = {}
    for name, change in changes.items():
        layer = layers[names[name]]
        added, old = change.matrix(), layer.weight
        if added.shape != old.flatten(1).shape:
            found = f"it changes {name} of {_sides(added)}, which is {_sides(old.flatten(1))} here"
            raise ValueError(_other_family(network, lora, part, found))
        merged[names[name]] = with_weight(layer, _sum(old, added, weight))
    return with_layers(network, merged)


def _sum(weight: Tensor, added: Tensor, times: float) -> Tensor:
    added = added.to(weight.device).view(weight.shape)
    return torch.add(weight.float(), added, alpha=times).to(weight.dtype)


def _listed_layers(network: nn.Module, unknown: list[str]) -> str:
    more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
    return f"{type(network).__name__} has no {', '.join(unknown[:SHOWN])}{more}"


def _other_family(network: Any, lora: LoRA, part: str, found: str) -> str:
    """Say for which network a LoRA was made, as far as the width of the text tells."""
    width = _text_width(lora.changes[part])
    here = getattr(network.config, "cross_attention_dim", None)
    if width is None or here in (None, width):
        return f"`lora` {lora.name} was made for another network: {found}"
    family = f": is it of {FAMILIES[width]}?" if width in FAMILIES else ""
    return (
        f"`lora` {lora.name} was made for text of width {width}, "
        f"this UNet reads {here}{family} ({found})"
    )


def _text_width(changes: Mapping[str, Change]) -> int | None:
    """Find how wide the text is that the changed attention reads."""
    reading = (it for name, it in changes.items() if name.endswith(("attn2_to_k", "attn2_to_v")))
    return next((change.matrix().shape[1] for change in reading), None)


def _sides(matrix: Tensor) -> str:
    return "×".join(map(str, matrix.shape))
