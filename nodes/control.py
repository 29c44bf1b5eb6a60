"""Networks that let a picture guide: ControlNet and T2I-Adapter."""

from functools import reduce
from typing import Annotated

import torch
from pydantic import Field

from graph import node

from .denoise import beside, fitting_text
from .fitting import expect_counts
from .kinds import (
    AdapterFeatures,
    Control,
    Device,
    Dtype,
    Image,
    Latents,
    PictureSize,
    PooledText,
    Schedule,
    TextEmbedding,
    Timestep,
)
from .load import Digest, Model, build_network, find_part, part_files
from .models import Conditions, ControlNetModel, Residuals, T2IAdapter

Strength = Annotated[float, Field(description="1 = as trained, 0 = nothing")]
Guess = Annotated[bool, Field(description="draw what the picture shows, whatever the prompt says")]


@node(reads=part_files)
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


@node(reads=part_files)
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
    guess: Guess = False,
) -> Control:
    """Read the sample and a picture, and give what the UNet adds to its skips and middle.

    The picture is eight times as large as the latents. `guess` trusts it more the deeper the
    level; a ControlNet that pools, such as shuffle, has one number for a whole level as it is.
    """
    wanted = tuple(8 * side for side in sample.shape[-2:])
    if tuple(image.shape[-2:]) != wanted:
        raise ValueError(
            f"`image` is {image.shape[-1]}×{image.shape[-2]}, and the sample needs a picture of "
            f"{wanted[1]}×{wanted[0]}"
        )
    expect_counts(sample, image=image, text=text, pooled_text=pooled_text, size=size)
    inputs = sample.to(next(model.parameters()))
    found = model(
        inputs,
        timestep.to(inputs.device),
        fitting_text(model.config, text).to(inputs),
        image.to(inputs),
        beside(inputs, Conditions(pooled_text=pooled_text, size=size)),
    )
    found = _scaled(found, strength, guess=guess and not model.config.global_pool_conditions)
    skips = tuple(skip.to(sample.device) for skip in found.skips)
    return Residuals(skips, found.middle.to(sample.device))


@node
def control_steps(
    schedule: Schedule,
    starts: Annotated[
        list[float], Field(description="of each ControlNet, as parts of the run: 0 = at once")
    ],
    ends: Annotated[list[float], Field(description="1 = to the last step")],
) -> list[list[bool]]:
    """Say at every step which ControlNets are asked: it must lie within their part of the run.

    Parts are counted by steps, as diffusers does; ComfyUI counts by the noise.
    """
    if len(starts) != len(ends):
        raise ValueError(f"there are {len(starts)} `starts` and {len(ends)} `ends`")
    parts = list(zip(starts, ends, strict=True))
    for begin, end in parts:
        if not 0 <= begin < end <= 1:
            raise ValueError(f"a part of the run begins at {begin} and ends at {end} in `ends`")
    first, count = schedule.first, len(schedule.table.timesteps)
    return [
        [begin <= step / count and (step + 1) / count <= end for begin, end in parts]
        for step in range(first, first + len(schedule))
    ]


@node
def add_controls(controls: list[Control | None]) -> Control | None:
    """Add up what several ControlNets give; those that were not asked give nothing."""
    given = [control for control in controls if control is not None]
    return reduce(_sum, given) if given else None


@node
def adapter_features(model: T2IAdapter, image: Image, strength: Strength = 1.0) -> AdapterFeatures:
    """Read a picture once, and give what the UNet adds on its way down at every step.

    Adapters of one channel, such as those for edges, read it in grey. Raises ValueError for a
    picture whose sides do not divide.
    """
    parameter, factor = next(model.parameters()), model.config.downscale_factor
    height, width = image.shape[-2:]
    if height % factor or width % factor:
        raise ValueError(
            f"`image` is {width}×{height}, and both sides must be multiples of {factor}"
        )
    if model.config.in_channels == 1:
        image = image.mean(dim=1, keepdim=True)
    features = model(image.to(parameter.device, parameter.dtype))
    return tuple(strength * feature for feature in features)


def _scaled(residuals: Residuals, strength: float, *, guess: bool) -> Residuals:
    parts = (*residuals.skips, residuals.middle)
    weights = [strength] * len(parts)
    if guess:  # from a tenth at the outermost skip to all in the middle
        weights = [strength * weight for weight in torch.logspace(-1, 0, len(parts)).tolist()]
    *skips, middle = (part * weight for part, weight in zip(parts, weights, strict=True))
    return Residuals(tuple(skips), middle)


def _sum(one: Residuals, other: Residuals) -> Residuals:
    skips = tuple(mine + more for mine, more in zip(one.skips, other.skips, strict=True))
    return Residuals(skips, one.middle + other.middle)
