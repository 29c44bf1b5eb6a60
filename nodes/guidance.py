"""Guidance: what is made of several predictions before the sampler steps."""

from itertools import pairwise
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from graph import node

from .fitting import expect_as_many
from .kinds import Latents, Prediction, Schedule, Step

Scale = Annotated[float, Field(description="1 = no guidance, 7.5 = strong")]
PICTURE = (1, 2, 3)  # the dimensions of one picture


@node(shortcut=lambda scale: {0: "uncond", 1: "cond"}.get(scale))
def guidance(
    cond: Prediction,
    uncond: Prediction,
    scale: Scale = 7.5,
) -> Prediction:
    """Push away from the unconditional prediction (classifier-free guidance, arXiv:2207.12598).

    Raises ValueError where each is of several pictures, and not of as many.
    """
    try:
        return torch.lerp(uncond, cond, scale)  # uncond + scale * (cond - uncond)
    except RuntimeError:  # what is right pays for no comparison
        expect_as_many(cond, uncond)
        raise


@node
def edit_guidance(
    text: Prediction,
    image: Prediction,
    uncond: Prediction,
    scale: Annotated[float, Field(description="how much the instruction counts")] = 7.5,
    image_scale: Annotated[float, Field(description="how much the picture counts")] = 1.5,
) -> Prediction:
    """Push towards a picture, and from it towards an edit (InstructPix2Pix, arXiv:2211.09800, 3).

    `text` was told picture and instruction, `image` the picture alone, `uncond` neither.
    """
    return uncond + scale * (text - image) + image_scale * (image - uncond)


@node
def rescale_guidance(
    guided: Prediction,
    cond: Prediction,
    amount: Annotated[
        float, Field(ge=0, le=1, description="0 = as it is, 0.7 = as published")
    ] = 0.7,
) -> Prediction:
    """Give a guided prediction the spread of the unguided one (arXiv:2305.08891, section 3.4).

    Strong guidance makes pictures glaring; `amount` mixes what is rescaled with what is not.
    """
    spread, wanted = (part.std(PICTURE, keepdim=True) for part in (guided, cond))
    return torch.lerp(guided, guided * (wanted / spread), amount)


@node
def perturbed_guidance(
    guided: Prediction,
    cond: Prediction,
    perturbed: Prediction,
    scale: Annotated[float, Field(description="0 = none, 3 = strong")] = 3.0,
) -> Prediction:
    """Push a prediction away from that of a worse network (perturbed attention, arXiv:2403.17377).

    Worse is a network of `perturb_attention` or `skip_layers`, or a smaller one
    (arXiv:2406.02507), that is told the same text as `cond`. For `guided` without a text, give
    `cond` itself.
    """
    return guided + scale * (cond - perturbed)


@node
def zero_star_guidance(cond: Prediction, uncond: Prediction, scale: Scale = 7.5) -> Prediction:
    """Guide from the part of the unconditional prediction that fits (CFG-Zero*, arXiv:2503.18886).

    Its other half, a velocity of zero at the first steps, is to loop over the tail that
    `split_after` leaves.
    """
    fit = (cond * uncond).sum(PICTURE, keepdim=True) / uncond.square().sum(PICTURE, keepdim=True)
    return torch.lerp(fit * uncond, cond, scale)


@node
def guidance_direction(
    step: Step,
    cond: Prediction,
    uncond: Prediction,
    earlier: Annotated[Latents | None, Field(description="of the step before, carried")] = None,
    momentum: Annotated[
        float, Field(gt=-1, lt=1, description="of `earlier`; below 0 it is taken back, in part")
    ] = -0.5,
) -> Latents:
    """Say how guidance would change the clean estimate, for `projected_guidance`.

    With `earlier` it has momentum, which the paper takes below zero (arXiv:2410.02416).
    """
    direction = step.row.predict[1] * (cond - uncond)
    return direction if earlier is None else direction + momentum * earlier


@node
def projected_guidance(
    step: Step,
    sample: Latents,
    cond: Prediction,
    direction: Latents,
    scale: Scale = 7.5,
    parallel: Annotated[
        float, Field(description="how much of what only saturates is kept; 1 = all")
    ] = 0.0,
    limit: Annotated[
        float | None,
        Field(gt=0, description="of the length of `direction`: 7.5 for SD 2, 15 for SDXL"),
    ] = None,
) -> Prediction:
    """Guide across the clean estimate, not along it (APG, arXiv:2410.02416).

    What guidance adds along the estimate only saturates its colours. With `parallel` 1 and no limit
    this is `guidance`.
    """
    predict = step.row.predict
    clean = predict[0] * sample + predict[1] * cond
    if limit is not None:
        length = torch.linalg.vector_norm(direction, dim=PICTURE, keepdim=True)  # B 1 1 1
        direction = direction * (limit / length).clamp(max=1)
    share = (direction * clean).sum(PICTURE, keepdim=True) / clean.square().sum(
        PICTURE, keepdim=True
    )
    across = direction - (1 - parallel) * share * clean
    return cond + (scale - 1) / predict[1] * across


@node
def guidance_interval(
    schedule: Schedule,
    low: Annotated[float, Field(ge=0)] = 0.28,
    high: Annotated[float, Field(gt=0)] = 5.42,
) -> list[bool]:
    """Say at which steps the noise lies in an interval, to guide there only (arXiv:2404.07724).

    Noise is counted in standard deviations of it over the clean sample. Where the flag does not
    hold, `when` with `else: $cond` on the unconditional call saves that call. The defaults are the
    paper's for SDXL.
    """
    return [low < level <= high for level in _levels(schedule)]


@node
def manifold_scales(
    schedule: Schedule,
    scale: Annotated[float, Field(ge=0, le=1, description="0 = no text, 1 = the text alone")] = 0.6,
) -> list[float]:
    """Give `guidance` a scale for every step that makes it CFG++ (arXiv:2406.08070).

    CFG++ takes the clean estimate from the guided prediction and the noise to add again from the
    unconditional one. For `ddim` and `euler` that is guidance by scale / (1 - next noise / noise);
    for other samplers it is this guidance, not the step. The last step is taken to end without
    noise. Raises ValueError for a sampler that calls the network twice at one level.
    """
    levels = [*_levels(schedule), 0.0]
    if not all(after < level for level, after in pairwise(levels)):
        raise ValueError("`schedule` has steps of two calls: take ddim, euler or another of one")
    return [scale / (1 - after / level) for level, after in pairwise(levels)]


def _levels(schedule: Schedule) -> list[float]:
    """Give the standard deviation of the noise over the clean sample at every step."""
    levels: Tensor = schedule.table.sigmas / schedule.table.alphas
    return levels.tolist()[schedule.first : schedule.first + len(schedule)]
