"""Loaders: a checkpoint's parts, each as a value on an edge."""

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

import torch
from pydantic import Field
from torch import nn

from graph import node

from .kinds import Device, Dtype
from .models import AutoencoderKL, UNet, UNet2DConditionModel, UNet2DModel, pack
from .weights import find_config, find_weights, load_weights

Network = TypeVar("Network", bound=nn.Module)
Model = Annotated[str, Field(description="a folder, a shipped checkpoint or a hub repository")]
UNETS: dict[str, Callable[[Mapping[str, Any]], UNet]] = {
    "UNet2DModel": UNet2DModel.from_config,
    "UNet2DConditionModel": UNet2DConditionModel.from_config,
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

    def build(config: Mapping[str, Any]) -> UNet:
        name = config.get("_class_name")
        if name not in UNETS:
            known = " or ".join(UNETS)
            raise ValueError(f"'{model}' has a {name} in {subfolder}, expected {known}")
        return UNETS[name](config)

    return load_network(build, model, subfolder, device, dtype, revision, variant)


@node
def load_vae(
    model: Model,
    device: Device,
    dtype: Dtype,
    subfolder: str = "vae",
    revision: str | None = None,
    variant: str | None = None,
) -> AutoencoderKL:
    """Load the autoencoder; in float32 where its config forbids float16."""
    config = json.loads(find_config(model, subfolder, "config.json", revision).read_text())
    if config.get("force_upcast", True) and dtype == torch.float16:
        dtype = torch.float32  # this one overflows in half precision, to black pictures
    build = AutoencoderKL.from_config
    return load_network(build, model, subfolder, device, dtype, revision, variant)


def load_network(
    build: Callable[[Mapping[str, Any]], Network],
    model: str,
    subfolder: str,
    device: torch.device,
    dtype: torch.dtype,
    revision: str | None,
    variant: str | None,
) -> Network:
    """Build a network of a checkpoint's config without weights, then give it its weights."""
    config = json.loads(find_config(model, subfolder, "config.json", revision).read_text())
    with torch.device("meta"):
        network = build(config)
    weights = find_weights(model, subfolder, revision, variant)
    return pack(load_weights(network, weights, device, dtype))
