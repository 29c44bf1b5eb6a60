"""Pictures as prompts: IP-Adapter (arXiv:2308.06721)."""

from dataclasses import dataclass, replace
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from graph import came_from, node

from .fitting import text_width
from .kinds import Device, Dtype, Image, ImagePrompt
from .load import Digest, Model, build_network, check_digests, find_part, part_files
from .lora import find_small_file, small_files
from .models import (
    CLIPVisionModelWithProjection,
    ImageProjection,
    Resampler,
    UNet,
    UNet2DConditionModel,
    image_projection,
    text_attentions,
    with_picture,
)
from .vision import as_clip_sees
from .weights import Component, StoredTensor, open_ip_adapter


@dataclass(frozen=True)
class IPAdapter:
    """What makes tokens of a picture, and keys and values for every attention to the text."""

    name: str
    projection: ImageProjection | Resampler
    layers: list[tuple[Tensor, Tensor]]


@node(reads=part_files)
def load_image_encoder(
    model: Model,
    device: Device,
    dtype: Dtype,
    subfolder: str = "image_encoder",
    revision: str | None = None,
    variant: str | None = None,
    sha256: Digest = None,
) -> CLIPVisionModelWithProjection:
    """Load the image encoder of CLIP (arXiv:2103.00020)."""
    found = find_part(model, subfolder, revision, variant, sha256, device)
    # Old files also count positions.
    tensors = {name: it for name, it in found.tensors.items() if not name.endswith("position_ids")}
    found = replace(found, tensors=tensors)
    return build_network(CLIPVisionModelWithProjection.from_config, found, device, dtype)


@node(reads=small_files)
def load_ip_adapter(
    model: Model,
    device: Device,
    dtype: Dtype,
    file: Annotated[
        str, Field(description="its name in a folder or repository")
    ] = "models/ip-adapter_sd15.safetensors",
    revision: str | None = None,
    sha256: Digest = None,
) -> IPAdapter:
    """Load an IP-Adapter, or an IP-Adapter Plus, for Stable Diffusion 1, 2 or XL."""
    path = find_small_file(model, file, revision)
    check_digests([path], sha256)
    stored = open_ip_adapter(path)
    shapes = {name: tensor.shape for name, tensor in stored.projection.items()}
    projection = build_network(
        lambda _: image_projection(shapes), Component({}, stored.projection), device, dtype
    )
    layers = [
        (_read(keys, device, dtype), _read(values, device, dtype)) for keys, values in stored.layers
    ]
    return came_from(IPAdapter(path.name, projection, layers), path)


def _read(tensor: StoredTensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    if device.type == "meta":
        return torch.empty(tensor.shape, device=device, dtype=dtype)
    return tensor.read().to(device, dtype)


@node
def apply_ip_adapter(
    model: UNet,
    adapter: IPAdapter,
    scale: Annotated[float, Field(description="how much the picture counts, 0 = nothing")] = 1.0,
) -> UNet:
    """Give a network that reads an `image_prompt` beside the text; the old one stays as it is.

    It shares all weights with the old one, and has the adapter's besides. Raises ValueError for
    an adapter of another family.
    """
    if not isinstance(model, UNet2DConditionModel):
        raise ValueError("`model` reads no text, and an IP-Adapter stands beside one")
    expected = [tuple(each.to_k.weight.shape) for each in text_attentions(model).values()]
    if [tuple(keys.shape) for keys, _ in adapter.layers] != expected:
        width, here = adapter.projection.width, model.config.cross_attention_dim
        raise ValueError(
            f"`adapter` {adapter.name} is for {len(adapter.layers)} attentions to text of width "
            f"{text_width(width)}, `model` has {len(expected)} of width {text_width(here)}"
        )
    weight = next(model.parameters())
    layers = [(keys.to(weight), values.to(weight)) for keys, values in adapter.layers]
    return with_picture(model, layers, adapter.projection.tokens, scale)


@node
def image_prompt(
    encoder: CLIPVisionModelWithProjection,
    adapter: IPAdapter,
    image: Annotated[Image | None, Field(description="null = what stands for no picture")] = None,
) -> ImagePrompt:
    """Read pictures, or none, as an IP-Adapter puts them before a network.

    A picture is scaled to what the encoder sees, and its middle cut out. Raises ValueError for
    the encoder of another adapter.
    """
    weight, projection = encoder.visual_projection.weight, adapter.projection
    side = encoder.config.image_size
    pixels = torch.zeros(1, 3, side, side) if image is None else as_clip_sees(image.float(), side)
    pixels = pixels.to(weight.device, weight.dtype)
    if isinstance(projection, Resampler):  # patch by patch, before the last layer
        seen = encoder.vision_model.states(pixels)[-2]  # B M D
    else:
        seen = encoder(pixels) if image is not None else weight.new_zeros(1, len(weight))  # B D
    if seen.shape[-1] != projection.inputs:
        raise ValueError(
            f"`adapter` {adapter.name} reads a width of {projection.inputs}, `encoder` gives "
            f"{seen.shape[-1]}: is it the image encoder of another adapter?"
        )
    return projection(seen.to(next(projection.parameters())))  # B N D


@node
def join_image_prompts(first: ImagePrompt, second: ImagePrompt) -> ImagePrompt:
    """Put two pictures before a network that has two IP-Adapters, in the order of these."""
    count = max(len(first), len(second))
    parts = [each.expand(count, -1, -1).to(first) for each in (first, second)]
    return torch.cat(parts, dim=1)  # B N1+N2 D
