"""Loaders: a checkpoint's parts, each as a value on an edge."""

import json
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
from .weights import find_config, find_weights, load_weights

Network = TypeVar("Network", bound=nn.Module)
Model = Annotated[str, Field(description="a folder, a shipped checkpoint or a hub repository")]
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
) -> UNet:
    """Load the network that predicts the noise, of the class that its config names."""
    config = read_config_file(model, subfolder, revision)
    build = _named(UNETS, config, model, subfolder)
    return load_network(build, model, subfolder, device, dtype, revision, variant)


@node
def load_vae(
    model: Model,
    device: Device,
    dtype: Dtype,
    subfolder: str = "vae",
    revision: str | None = None,
    variant: str | None = None,
) -> Autoencoder:
    """Load the autoencoder, of the class that its config names.

    It is in float32 where float16 is asked and its config says that it overflows.
    """
    config = read_config_file(model, subfolder, revision)
    build = _named(AUTOENCODERS, config, model, subfolder)
    with torch.device("meta"):
        overflows = build(config).overflows
    if overflows and dtype == torch.float16:
        dtype = torch.float32
    return load_network(build, model, subfolder, device, dtype, revision, variant)


def _named(
    classes: Mapping[str, Build[Network]], config: Mapping[str, Any], model: str, subfolder: str
) -> Build[Network]:
    name = str(config.get("_class_name"))
    if name not in classes:
        known = " or ".join(classes)
        raise ValueError(f"'{model}' has a {name} in {subfolder}, expected {known}")
    return classes[name]


def read_config_file(model: str, subfolder: str, revision: str | None) -> dict[str, Any]:
    """Read the `config.json` of a checkpoint's part."""
    return json.loads(find_config(model, subfolder, "config.json", revision).read_text())


def load_network(
    build: Build[Network],
    model: str,
    subfolder: str,
    device: torch.device,
    dtype: torch.dtype,
    revision: str | None,
    variant: str | None,
) -> Network:
    """Build a network of a checkpoint's config without weights, then give it its weights."""
    with torch.device("meta"):
        network = build(read_config_file(model, subfolder, revision))
    weights = find_weights(model, subfolder, revision, variant)
    return pack(load_weights(network, weights, device, dtype))
