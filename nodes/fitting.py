"""Whether what flows together was made for one another."""

from collections.abc import Sequence

from torch import Tensor

from .models import Residuals, UNet, UNet2DConditionModel

# The width of the text that networks read, and whose they are.
FAMILIES = {
    768: "Stable Diffusion 1", 1024: "Stable Diffusion 2", 1280: "SDXL's refiner", 2048: "SDXL",
}  # fmt: skip

# What networks read beside the four channels of the sample.
TASKS = {5: "depth", 7: "the x4 upscaler", 8: "InstructPix2Pix", 9: "inpainting"}
PREDICTIONS = {
    "epsilon": "noise (epsilon)", "v_prediction": "velocity (v_prediction)",
    "sample": "the clean sample (sample)", "flow_prediction": "flow (flow_prediction)",
}  # fmt: skip


def text_width(width: int) -> str:
    """Say how wide a text is, and for whose networks where that is known."""
    return f"{width} ({FAMILIES[width]})" if width in FAMILIES else str(width)


def listed_prompts(prompt: str | list[str]) -> list[str]:
    """List one prompt or several; raises ValueError for a list without any."""
    if not prompt and isinstance(prompt, list):
        raise ValueError("`prompt` is a list without prompts")
    return [prompt] if isinstance(prompt, str) else prompt


def expect_channels(model: UNet, sample: Tensor) -> None:
    """Raise ValueError for a sample with more or fewer channels than a network reads."""
    expected, found = model.config.in_channels, sample.shape[1]
    if found != expected:
        task = f", as those for {TASKS[expected]} do," if expected in TASKS and found == 4 else ","
        raise ValueError(f"this network reads {expected} channels{task} `sample` has {found}")


def expect_counts(sample: Tensor, **told: Tensor | None) -> None:
    """Raise ValueError where there is neither one of a thing for all pictures nor one for each.

    One sample that is told several texts is as many pictures.
    """
    pictures = len(sample)
    for name, value in told.items():
        count = 1 if value is None else len(value)
        if 1 < count != pictures > 1:
            what = name.replace("_", " ")
            raise ValueError(f"there are {count} {what}s for {pictures} pictures")
        pictures = max(pictures, count)


def expect_as_many(cond: Tensor, uncond: Tensor) -> None:
    """Raise ValueError for predictions that are not of as many pictures, nor one for all."""
    if len(cond) != len(uncond) and 1 not in (len(cond), len(uncond)):
        raise ValueError(
            f"`cond` is of {len(cond)} pictures, `uncond` of {len(uncond)}: "
            "there must be as many prompts as negative prompts, or one"
        )


def expect_same_size(**pictures: Tensor) -> None:
    """Raise ValueError where pictures, each given by the name of its port, differ in H or W."""
    sizes = {name: each.shape[-2:] for name, each in pictures.items()}
    if len(set(sizes.values())) > 1:
        told = (f"`{name}` is {width}×{height}" for name, (height, width) in sizes.items())
        raise ValueError(", ".join(told))


def expect_own_control(model: UNet, control: Residuals) -> None:
    """Raise ValueError for what a ControlNet of another family gives."""
    found, expected = [part.shape[1] for part in control.skips], model.config.skip_widths
    if found != expected:
        raise ValueError(
            f"`control` is for {_skips(found)}, this network has {_skips(expected)}: "
            "is the ControlNet of another family?"
        )


def expect_own_features(model: UNet, features: Sequence[Tensor]) -> None:
    """Raise ValueError for what a T2I-Adapter of another family gives."""
    found, expected = [part.shape[1] for part in features], model.config.block_out_channels
    if any(width != own for width, own in zip(found, expected, strict=False)):
        raise ValueError(
            f"`adapter` is for levels of {_listed(found)} channels, this network's have "
            f"{_listed(expected)}: is the adapter of another family?"
        )


def expect_own_picture(model: UNet2DConditionModel, image_prompt: Tensor | None) -> None:
    """Raise ValueError for a picture that a network does not read, or reads otherwise."""
    expected, found = model.picture_tokens, 0 if image_prompt is None else image_prompt.shape[1]
    if expected and not found:
        raise ValueError("this network has an IP-Adapter and reads a picture: wire `image_prompt`")
    if found and not expected:
        raise ValueError(
            "this network reads no picture: leave out `image_prompt`, or give it an IP-Adapter "
            "by `apply_ip_adapter`"
        )
    if found != expected:
        raise ValueError(
            f"`image_prompt` has {found} tokens, the IP-Adapter of this network {expected}: "
            "is the picture read by another one?"
        )


def expect_trained_type(model: UNet, prediction_type: str) -> None:
    """Raise ValueError where a schedule takes a prediction for another than the network learnt."""
    if model.prediction_type is not None and model.prediction_type != prediction_type:
        expected, found = PREDICTIONS[prediction_type], PREDICTIONS[model.prediction_type]
        raise ValueError(
            f"`schedule` is for networks that predict {expected}, `unet` was trained to predict "
            f"{found}: is the scheduler config that of another checkpoint?"
        )


def _skips(widths: Sequence[int]) -> str:
    return f"{len(widths)} skips of {_listed(dict.fromkeys(widths))} channels"


def _listed(numbers: Sequence[int] | dict[int, None]) -> str:
    return ", ".join(map(str, numbers))
