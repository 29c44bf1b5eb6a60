"""Loaders: a checkpoint's parts, each as a value on an edge."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

import torch
from pydantic import Field
from torch import nn

from graph import node

from .kinds import Device, Dtype
from .models import (
    Autoencoder,
    AutoencoderKL,
    AutoencoderTiny,
    UNet,
    UNet2DConditionModel,
    UNet2DModel,
    pack,
)
from .weights import Component, check_digests, find_component, load_weights, read_config

Network = TypeVar("Network", bound=nn.Module)
Model = Annotated[
    str, Field(description="a folder, a single file, a shipped checkpoint or a repository")
]
Digest = Annotated[
    str | list[str] | None,
    Field(description="what the file must be, as SHA-256; of shards a list, in order of names"),
]
Build = Callable[[Mapping[str, Any]], Network]
UNETS: dict[str, Build[UNet]] = {
    "UNet2DModel": UNet2DModel.from_config,
    "UNet2DConditionModel": UNet2DConditionModel.from_config,
}
AUTOENCODERS: dict[str, Build[Autoencoder]] = {
    "AutoencoderKL": AutoencoderKL.from_config,
    "AutoencoderTiny": AutoencoderTiny.from_config,
}


@node
def load_unet(
    model: Model,
    device: Device,
    dtype: Dtype,
    subfolder: str = "unet",
    revision: str | None = None,
    variant: str | None = None,
    sha256: Digest = None,
) -> UNet:
    """Load the network that predicts the noise, of the class that its config names."""
    found = find_part(model, subfolder, revision, variant, sha256, device)
    return build_network(_named(UNETS, found, model, subfolder), found, device, dtype)


@node
def load_vae(
    model: Model,
    device: Device,
    dtype: Dtype,
    subfolder: str = "vae",
    revision: str | None = None,
    variant: str | None = None,
    sha256: Digest = None,
) -> Autoencoder:
    """Load the autoencoder, of the class that its config names.

    It is in float32 where float16 is asked and its config says that it overflows.
    """
    found = find_part(model, subfolder, revision, variant, sha256, device)
    build = _named(AUTOENCODERS, found, model, subfolder)
    with torch.device("meta"):
        overflows = build(found.config).overflows
    if overflows and dtype == torch.float16:
        dtype = torch.float32
    return build_network(build, found, device, dtype)


def _named(
    classes: Mapping[str, Build[Network]], found: Component, model: str, subfolder: str
) -> Build[Network]:
    name = str(found.config.get("_class_name"))
    if name not in classes:
        known = " or ".join(classes)
        raise ValueError(f"'{model}' has a {name} in {subfolder}, expected {known}")
    return classes[name]


def find_part(
    model: str,
    subfolder: str,
    revision: str | None,
    variant: str | None,
    sha256: str | list[str] | None,
    device: torch.device,
) -> Component:
    """Find a part of a checkpoint and hold its files to the digests that the graph pins.

    For the meta device, where a network is its shapes, that is the config alone.
    """
    if device.type == "meta":
        return Component(read_config(model, subfolder, "config.json", revision), {})
    found = find_component(model, subfolder, revision, variant)
    if sha256 is not None:
        files = sorted({tensor.file for tensor in found.tensors.values()})
        check_digests(files, [sha256] if isinstance(sha256, str) else sha256)
    return found


def build_network(
    build: Build[Network], found: Component, device: torch.device, dtype: torch.dtype
) -> Network:
    """Build a network of its config without weights, then give it its weights."""
    with torch.device("meta"):
        network = build(found.config)
    if device.type == "meta":
        return network.to(dtype).eval().requires_grad_(False)
    return pack(load_weights(network, found.tensors, device, dtype))
