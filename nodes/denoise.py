"""What happens at every timestep: the network's prediction, and guidance."""

from typing import Annotated

from pydantic import Field

from graph import node

from .kinds import Latents, Prediction, TextEmbedding, Timestep
from .models import UNet, UNet2DConditionModel


@node(batched=True)
def unet(
    model: UNet, sample: Latents, timestep: Timestep, text: TextEmbedding | None = None
) -> Prediction:
    """Predict the noise in a sample, in the network's precision; the result is float32."""
    dtype = next(model.parameters()).dtype
    inputs = sample.to(dtype)
    if not isinstance(model, UNet2DConditionModel):
        return model(inputs, timestep).float()
    if text is None:
        raise ValueError("this network is told a text: wire `text`")
    text = text.to(dtype).expand(len(sample), -1, -1)  # one prompt serves all pictures
    return model(inputs, timestep, text).float()


@node
def guidance(
    cond: Prediction,
    uncond: Prediction,
    scale: Annotated[float, Field(description="1 = no guidance, 7.5 = strong")] = 7.5,
) -> Prediction:
    """Push away from the unconditional prediction (classifier-free guidance, arXiv:2207.12598)."""
    return uncond + scale * (cond - uncond)
