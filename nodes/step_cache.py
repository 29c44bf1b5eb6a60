"""What a step takes over from the step before, so that it costs less."""

from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from graph import Kind, node

from .denoise import beside, fitting
from .fitting import expect_channels, expect_counts
from .kinds import (
    AdapterFeatures,
    Control,
    ImagePrompt,
    Latents,
    PictureSize,
    PooledText,
    Prediction,
    Schedule,
    TextEmbedding,
    Timestep,
)
from .models import Conditions, UNet, UNet2DConditionModel

DeepFeatures = Annotated[
    Tensor,
    Kind("deep features", "B C H W", "what comes up to a UNet's outermost level from below"),
]


class Cached(NamedTuple):
    """A prediction, and what it took from below, for the steps that follow."""

    prediction: Prediction
    deep: DeepFeatures


@node
def cached_unet(
    model: UNet,
    sample: Latents,
    timestep: Timestep,
    refresh: bool,
    deep: Annotated[
        DeepFeatures | None, Field(description="what this call gave at the step before")
    ],
    text: TextEmbedding | None = None,
    pooled_text: PooledText | None = None,
    size: PictureSize | None = None,
    control: Control | None = None,
    adapter: AdapterFeatures | None = None,
    image_prompt: ImagePrompt | None = None,
) -> Cached:
    """Predict by a UNet's outermost level alone, with older features from below (DeepCache).

    What the deep levels see hardly changes from step to step (arXiv:2312.00858): where `refresh`
    does not hold, their features of the last step at which it did are taken.
    """
    if not isinstance(model, UNet2DConditionModel):
        raise ValueError("`model` is told no text, and only networks that are can be cached")
    expect_channels(model, sample)
    expect_counts(sample, text=text, pooled_text=pooled_text, size=size, image_prompt=image_prompt)
    inputs = sample.to(next(model.parameters()))
    conditions = beside(inputs, Conditions(pooled_text=pooled_text, size=size))
    told = fitting(model, inputs, text, conditions, control, adapter, image_prompt)
    prediction, deep = model.forward_with_deep(
        inputs, timestep.to(inputs.device), *told, deep=None if refresh else deep
    )
    return Cached(prediction.to(sample.device, torch.float32), deep)


@node
def refresh_steps(
    schedule: Schedule,
    every: Annotated[int, Field(ge=1, description="1 = at every step, 3 = at every third")] = 3,
) -> list[bool]:
    """Say at which steps the whole network is run, beginning with the first."""
    return [number % every == 0 for number in range(len(schedule))]
