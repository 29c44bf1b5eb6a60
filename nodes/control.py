"""Networks that let a picture guide: ControlNet and T2I-Adapter."""

from typing import Annotated, Any

import torch
from pydantic import Field

from graph import node

from .denoise import fitting_text, for_each
from .kinds import (
    AdapterFeatures,
    Device,
    Dtype,
    Image,
    Latents,
    PictureSize,
    PooledText,
    TextEmbedding,
    Timestep,
)
from .load import Digest, Model, build_network, find_part
from .models import Conditions, ControlNetModel, Residuals, T2IAdapter

Strength = Annotated[float, Field(description="1 = as trained, 0 = nothing")]


@node
def load_controlnet(
    model: Model,
    device: Device,
    dtype: Dtype,
    subfolder: str = "controlnet",
    revision: str | None = None,
    variant: str | None = None,
    sha256: Digest = None,
) -> ControlNetModel:
    """Load a ControlNet (arXiv:2302.05543), of its own repository or of a folder with others."""
    found = find_part(model, subfolder, revision, variant, sha256, device)
    return build_network(ControlNetModel.from_config, found, device, dtype)


@node
def load_adapter(
    model: Model,
    device: Device,
    dtype: Dtype,
    subfolder: str = "adapter",
    revision: str | None = None,
    variant: str | None = None,
    sha256: Digest = None,
) -> T2IAdapter:
    """Load a T2I-Adapter (arXiv:2302.08453)."""
    found = find_part(model, subfolder, revision, variant, sha256, device)
    return build_network(T2IAdapter.from_config, found, device, dtype)


@node(batched=True)
def controlnet(
    model: ControlNetModel,
    image: Image,
    sample: Latents,
    timestep: Timestep,
    text: TextEmbedding,
    pooled_text: PooledText | None = None,
    size: PictureSize | None = None,
    strength: Strength = 1.0,
    guess: Annotated[
        bool, Field(description="trust the picture more the deeper the level, without a text")
    ] = False,
    control: Annotated[
        Residuals | None, Field(description="another ControlNet's, to add to")
    ] = None,
) -> Residuals:
    """Read the sample and a picture, and give what the UNet adds to its skips and middle.

    The picture is eight times as large as the latents.
    """
    dtype = next(model.parameters()).dtype
    wanted = tuple(8 * side for side in sample.shape[-2:])
    if tuple(image.shape[-2:]) != wanted:
        raise ValueError(
            f"`image` is {image.shape[-1]}×{image.shape[-2]}, and the sample needs a picture of "
            f"{wanted[1]}×{wanted[0]}"
        )
    given: dict[str, Any] = {"pooled_text": pooled_text, "size": size}
    told = Conditions(
        **{
            name: None if value is None else for_each(value, sample, name)
            for name, value in given.items()
        }
    )
    found = model(
        sample.to(dtype),
        timestep,
        fitting_text(model.config, text, sample).to(dtype),
        for_each(image, sample, "pictures").to(dtype),
        told,
    )
    return _sum(_scaled(found, strength, guess=guess), control)


@node
def adapter_features(model: T2IAdapter, image: Image, strength: Strength = 1.0) -> AdapterFeatures:
    """Read a picture once, and give what the UNet adds on its way down at every step."""
    parameter = next(model.parameters())
    features = model(image.to(parameter.device, parameter.dtype))
    return tuple(strength * feature for feature in features)


def _scaled(residuals: Residuals, strength: float, *, guess: bool) -> Residuals:
    parts = (*residuals.skips, residuals.middle)
    weights = [strength] * len(parts)
    if guess:  # from a tenth at the outermost skip to all in the middle
        weights = [strength * weight for weight in torch.logspace(-1, 0, len(parts)).tolist()]
    *skips, middle = (part * weight for part, weight in zip(parts, weights, strict=True))
    return Residuals(tuple(skips), middle)


def _sum(one: Residuals, other: Residuals | None) -> Residuals:
    if other is None:
        return one
    skips = tuple(mine + more for mine, more in zip(one.skips, other.skips, strict=True))
    return Residuals(skips, one.middle + other.middle)
