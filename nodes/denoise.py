"""What happens at every timestep: the network's prediction, and what it is told."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from graph import node

from .fitting import (
    expect_channels,
    expect_counts,
    expect_own_control,
    expect_own_features,
    expect_own_picture,
    expect_same_size,
    text_width,
)
from .kinds import (
    AdapterFeatures,
    ClassLabel,
    Control,
    ImagePrompt,
    Latents,
    PictureSize,
    PooledText,
    Prediction,
    TextEmbedding,
    Timestep,
)
from .models import (
    Autoencoder,
    ConditioningConfig,
    Conditions,
    Residuals,
    UNet,
    UNet2DConditionModel,
    for_all,
    sinusoid,
)


@node(batched=True)
def unet(
    model: UNet,
    sample: Latents,
    timestep: Timestep,
    text: TextEmbedding | None = None,
    pooled_text: PooledText | None = None,
    size: PictureSize | None = None,
    class_label: ClassLabel | None = None,
    guidance_scale: Annotated[
        float | None, Field(description="for networks that were distilled with it (LCM)")
    ] = None,
    control: Control | None = None,
    adapter: AdapterFeatures | None = None,
    image_prompt: ImagePrompt | None = None,
) -> Prediction:
    """Predict the noise in a sample, in the network's precision; the result is float32.

    It is made where the network is, and given back where the sample is. Which of the conditions a
    network is told, its config says; one text, size or label serves all pictures, and one sample
    all texts. Raises ValueError for one that is missing, surplus or of another width.
    """
    expect_channels(model, sample)
    expect_counts(
        sample, text=text, pooled_text=pooled_text, size=size, class_label=class_label,
        image_prompt=image_prompt,
    )  # fmt: skip
    inputs = sample.to(next(model.parameters()))
    timestep = timestep.to(inputs.device)
    if not isinstance(model, UNet2DConditionModel):
        told = {
            "text": text, "pooled_text": pooled_text, "size": size,
            "guidance_scale": guidance_scale, "control": control, "adapter": adapter,
            "image_prompt": image_prompt,
        }  # fmt: skip
        surplus = [f"`{name}`" for name, value in told.items() if value is not None]
        if surplus:
            raise ValueError(
                f"this network is told nothing but the time and, if it has classes, a class: "
                f"leave out {', '.join(surplus)}"
            )
        label = None if class_label is None else class_label.to(inputs.device)
        return model(inputs, timestep, label).to(sample.device, torch.float32)
    guidance = _guidance(model, inputs, guidance_scale)
    told = beside(inputs, Conditions(class_label, pooled_text, size, guidance))
    fit = fitting(model, inputs, text, told, control, adapter, image_prompt)
    return model(inputs, timestep, *fit).to(sample.device, torch.float32)


Told = tuple[Tensor, Conditions, Control | None, tuple[Tensor, ...]]


def fitting(
    model: UNet2DConditionModel,
    sample: Tensor,
    text: Tensor | None,
    told: Conditions,
    control: Control | None,
    adapter: tuple[Tensor, ...] | None,
    image_prompt: Tensor | None,
) -> Told:
    """Give all that a network is told beside sample and time, as its `forward` takes it.

    All is put where the sample is, in its precision. Raises ValueError for what is of another
    family.
    """
    if image_prompt is not None:
        told = told._replace(picture=image_prompt.to(sample))
    expect_own_picture(model, image_prompt)
    text = fitting_text(model.config, text).to(sample)
    if control is not None:
        expect_own_control(model, control)
        skips = tuple(skip.to(sample) for skip in control.skips)
        control = Residuals(skips, control.middle.to(sample))
    features = tuple(feature.to(sample) for feature in adapter or ())
    expect_own_features(model, features)
    return text, told, control, features


def fitting_text(config: ConditioningConfig, text: Tensor | None) -> Tensor:
    """Give a text; raises ValueError if there is none or the network cannot read it."""
    if text is None:
        raise ValueError("this network is told a text: wire `text`")
    width = config.encoder_hid_dim or config.cross_attention_dim
    if text.shape[-1] != width:
        raise ValueError(
            f"the network expects text of width {text_width(width)}, "
            f"`text` has {text_width(text.shape[-1])}: "
            "is the text encoder that of another checkpoint?"
        )
    return text


def beside(sample: Tensor, told: Conditions) -> Conditions:
    """Put conditions where a sample is."""
    return Conditions(*(None if it is None else it.to(sample.device) for it in told))


def _guidance(
    model: UNet2DConditionModel, sample: Tensor, guidance_scale: float | None
) -> Tensor | None:
    if guidance_scale is None:
        return None
    told = torch.full((1,), 1000 * (guidance_scale - 1), device=sample.device)
    # Latent consistency models (arXiv:2310.04378) embed the scale as if it were a timestep.
    width = model.config.time_cond_proj_dim or 2
    return sinusoid(told, width, cosine_first=False, shift=1).to(sample)


@node
def add_channels(sample: Latents, channels: Latents) -> Latents:
    """Put further channels behind those of the sample, as inpainting and depth networks read them.

    Channels that are given once serve all pictures.
    """
    expect_same_size(sample=sample, channels=channels)
    expect_counts(sample, channel=channels)
    return torch.cat(for_all(sample, channels.to(sample)), dim=1)


@node
def class_label(
    label: Annotated[int, Field(ge=0, description="a class, or the x4 upscaler's noise level")],
) -> ClassLabel:
    """Name a class, as networks with class embeddings are told it."""
    return torch.tensor([label])


@node
def picture_size(
    vae: Autoencoder,
    latents: Latents,
    original_width: Annotated[
        int | None, Field(description="of the picture it is to look cut from; null = the same")
    ] = None,
    original_height: int | None = None,
    crop_left: int = 0,
    crop_top: int = 0,
    aesthetic_score: Annotated[
        float | None, Field(description="for SDXL's refiner: 6.0, and 2.5 for the negative text")
    ] = None,
) -> PictureSize:
    """Tell SDXL's networks the size and crop of the picture (arXiv:2307.01952, section 2.2)."""
    height, width = (vae.factor * side for side in latents.shape[-2:])
    told = [height, width] if aesthetic_score is None else [aesthetic_score]
    numbers = [original_height or height, original_width or width, crop_top, crop_left, *told]
    return torch.tensor([numbers], dtype=torch.float32, device=latents.device)  # 1 6, or 1 5
