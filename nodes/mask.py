"""Where a picture is to change."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch.nn import functional

from graph import node

from .files import file_at
from .fitting import expect_same_size
from .image import Pixels, Sigma, blurred, read_picture
from .kinds import Image, Latents, Mask, Schedule


@node(reads=file_at)
def load_mask(path: str) -> Mask:
    """Load a mask: white is repainted, black is kept, as in diffusers."""
    return read_picture(path, "L")


@node
def resize_mask(mask: Mask, image: Image) -> Mask:
    """Resize a mask to the size of a picture and make it hard: repainted is what is half white."""
    return (functional.interpolate(mask, image.shape[-2:], mode="area") >= 0.5).to(mask)


@node
def grow_mask(
    mask: Mask, pixels: Annotated[int, Field(description="to every side; below 0 = shrink")]
) -> Mask:
    """Grow the part that is repainted by so many pixels to every side."""
    window = 2 * abs(pixels) + 1
    sign = 1 if pixels >= 0 else -1
    return sign * functional.max_pool2d(sign * mask, window, stride=1, padding=abs(pixels))


@node
def blur_mask(mask: Mask, sigma: Sigma) -> Mask:
    """Soften the edge of a mask by a Gaussian, cut at three sigma."""
    return blurred(mask, sigma)


@node
def cover(image: Image, mask: Mask) -> Image:
    """Cover with grey what is repainted, as inpainting networks are shown a picture."""
    return torch.where(_over(image, mask) >= 0.5, 0.5, image)


@node
def paste(image: Image, onto: Image, mask: Mask) -> Image:
    """Paste pictures onto another where the mask says so: what it keeps stays exactly as it is."""
    expect_same_size(image=image, onto=onto)
    return torch.lerp(onto.to(image), image, _over(image, mask))


class Widened(NamedTuple):
    """A picture with room around it, and the mask of that room."""

    image: Image
    mask: Mask


@node
def widen(
    image: Image,
    left: Pixels = 0,
    top: Pixels = 0,
    right: Pixels = 0,
    bottom: Pixels = 0,
    overlap: Annotated[
        int, Field(ge=0, description="pixels of the picture along a new side that are repainted")
    ] = 0,
) -> Widened:
    """Give a picture room to be continued in; its edge pixels are repeated into it."""
    tall, wide = image.shape[-2:]
    rows = slice(overlap if top else 0, tall - overlap if bottom else tall)
    columns = slice(overlap if left else 0, wide - overlap if right else wide)
    if rows.start >= rows.stop or columns.start >= columns.stop:
        raise ValueError(f"`overlap` {overlap} leaves nothing of `image`, which is {wide}×{tall}")
    mask, sides = torch.ones_like(image[:1, :1]), (left, right, top, bottom)
    mask[..., rows, columns] = 0
    return Widened(
        functional.pad(image, sides, mode="replicate"), functional.pad(mask, sides, value=1.0)
    )


@node
def inpainting_channels(mask: Mask, covered: Latents) -> Latents:
    """Put a mask and the latents of the covered picture together, as inpainting networks read them.

    The mask is taken at every latent's first pixel, as in diffusers.
    """
    small = functional.interpolate(mask.to(covered), covered.shape[-2:], mode="nearest")
    return torch.cat(((small >= 0.5).to(covered), covered), dim=1)  # B 5 H W


@dataclass(frozen=True)
class NoisyLatents:
    """A picture after every step of a schedule: as noisy as the sample is by then."""

    latents: Latents
    noise: Latents
    levels: tuple[tuple[float, float], ...]  # alpha, sigma

    def __len__(self) -> int:
        return len(self.levels)

    def __getitem__(self, index: int) -> Latents:
        alpha, sigma = self.levels[index]
        return alpha * self.latents + sigma * self.noise

    def __iter__(self) -> Iterator[Latents]:
        return (self[index] for index in range(len(self)))


@node
def noisy_after_steps(schedule: Schedule, latents: Latents, noise: Latents) -> NoisyLatents:
    """Make a picture as noisy as the sample is after every step, and clean after the last.

    What a mask keeps of a picture is taken from it, step by step.
    """
    alphas, sigmas = schedule.table.alphas.tolist(), schedule.table.sigmas.tolist()
    levels = (*zip(alphas, sigmas, strict=True), (1.0, 0.0))
    begin = schedule.first + 1
    return NoisyLatents(latents, noise, levels[begin : begin + len(schedule)])


def _over(image: Image, mask: Mask) -> Mask:
    if mask.shape[-2:] != image.shape[-2:]:
        sizes = [f"{part.shape[-1]}×{part.shape[-2]}" for part in (mask, image)]
        raise ValueError(f"`mask` is {sizes[0]}, the picture is {sizes[1]}: resize_mask fits it")
    return mask.to(image)
