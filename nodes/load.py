"""Loaders: a checkpoint's parts, each as a value on an edge."""

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import torch
from pydantic import Field

from graph import node

from .kinds import Device, Dtype
from .models import AutoencoderKL, UNet, UNet2DConditionModel, UNet2DModel, pack
from .weights import find_config, find_weights, load_weights

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
    config = _config(model, subfolder, revision)
    name = config.get("_class_name")
    if name not in UNETS:
        raise ValueError(f"'{model}' has a {name} in {subfolder}, expected {' or '.join(UNETS)}")
    with torch.device("meta"):
        network = UNETS[name](config)
    weights = find_weights(model, subfolder, revision, variant)
    return pack(load_weights(network, weights, device, dtype))


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
    config = _config(model, subfolder, revision)
    with torch.device("meta"):
        network = AutoencoderKL.from_config(config)
    if network.config.force_upcast and dtype == torch.float16:
        dtype = torch.float32  # this one overflows in half precision, to black pictures
    weights = find_weights(model, subfolder, revision, variant)
    return pack(load_weights(network, weights, device, dtype))


def _config(model: str, subfolder: str, revision: str | None) -> dict[str, Any]:
    return json.loads(find_config(model, subfolder, "config.json", revision).read_text())
