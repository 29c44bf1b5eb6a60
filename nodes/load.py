"""Loaders: a checkpoint's parts, each as a value on an edge."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, TypeVar

import torch
from pydantic import Field
from torch import nn

from graph import Source, came_from, node, sources_of

from .kinds import Device, Dtype, SchedulerConfig
from .models import (
    Autoencoder,
    AutoencoderKL,
    AutoencoderTiny,
    Skeleton,
    UNet,
    UNet2DConditionModel,
    UNet2DModel,
    pack,
    packable,
)
from .schedulers import resolve
from .weights import Component, find_component, load_weights, read_ahead, read_config

Network = TypeVar("Network", bound=nn.Module)
Value = TypeVar("Value")
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


def part_files(model: str, subfolder: str, revision: str | None, variant: str | None) -> list[Path]:
    """Find the files of a part of a checkpoint."""
    found = find_component(model, subfolder, revision, variant)
    return [*([found.file] if found.file else []), *found.weight_files]


def unet_files(model: str, subfolder: str, revision: str | None, variant: str | None) -> list[Path]:
    """Find the files of a UNet, and the scheduler config that says what it predicts."""
    found = part_files(model, subfolder, revision, variant)
    with suppress(Exception):  # as `_with_prediction_type`
        found.append(read_config(model, "scheduler", "scheduler_config.json", revision).file)
    return found


@node(reads=unet_files)
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
    network = build_network(_named(UNETS, found, model, subfolder), found, device, dtype)
    return _with_prediction_type(network, model, revision)


def _with_prediction_type(network: UNet, model: str, revision: str | None) -> UNet:
    """Note what a network learnt to predict; only its checkpoint's scheduler config says so."""
    try:
        config = read_config(model, "scheduler", "scheduler_config.json", revision)
        network.prediction_type = resolve(config.values)[1].get("prediction_type")
    except Exception:  # none, none that is understood, or no answer from the hub: load it anyway
        return network
    return came_from(network, *sources_of(network), config.file)


@node(reads=part_files)
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
    with Skeleton():
        network = build(found.config)
    if network.overflows and dtype == torch.float16:
        dtype = torch.float32
    return _filled(network, found, device, dtype)


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

    For the meta device, where a network is its shapes, that is the config alone. Its tensors are
    read ahead from here on.
    """
    if device.type == "meta":
        config = read_config(model, subfolder, "config.json", revision)
        return Component(config.values, {}, config.file)
    found = find_component(model, subfolder, revision, variant)
    read_ahead(found.tensors.values())  # now, so that it has a start on who reads them
    check_digests(found.weight_files, sha256)
    return found


def check_digests(files: Sequence[Path], sha256: str | list[str] | None) -> None:
    """Compare files with what a graph pins, if it does.

    Raises ValueError with the first file that is another.
    """
    if sha256 is None:
        return
    expected = [sha256] if isinstance(sha256, str) else sha256
    if len(files) != len(expected):
        raise ValueError(f"`sha256` lists {len(expected)} files, and there are {len(files)}")
    for file, wanted in zip(files, expected, strict=True):
        found = Source.of(file).digest()
        if found != wanted.lower():
            raise ValueError(
                f"{file} is not the file that the graph pins: "
                f"expected SHA-256 {wanted}, found {found}"
            )


def build_network(
    build: Build[Network], found: Component, device: torch.device, dtype: torch.dtype
) -> Network:
    """Build a network of its config without weights, then give it its weights."""
    with Skeleton():
        network = build(found.config)
    return _filled(network, found, device, dtype)


def _filled(
    network: Network, found: Component, device: torch.device, dtype: torch.dtype
) -> Network:
    network.to(dtype).eval().requires_grad_(False)
    if device.type != "meta":
        later = packable(network) if device.type == "cpu" else ()
        pack(network, load_weights(network, found.tensors, device, later))
    return came_from_component(network, found)


def config_files(model: str, subfolder: str, revision: str | None) -> list[Path]:
    """Find the file of a scheduler's config."""
    return [read_config(model, subfolder, "scheduler_config.json", revision).file]


@node(reads=config_files)
def load_scheduler_config(
    model: Model,
    subfolder: str = "scheduler",
    revision: str | None = None,
) -> SchedulerConfig:
    """Read the `scheduler_config.json` of a checkpoint."""
    config = read_config(model, subfolder, "scheduler_config.json", revision)
    return came_from(SchedulerConfig(dict(config.values)), config.file)


def came_from_component(value: Value, found: Component) -> Value:
    """Note the files of the component that a value came from."""
    files = [found.file] if found.file else []
    return came_from(value, *files, *found.weight_files)
