"""Latents as they are: resized, put together, mixed."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch.nn import functional

from graph import node

from .fitting import expect_same_size
from .image import Pixels, cut
from .kinds import Image, Latents, Mask, State


@node
def resize_latents(
    latents: Latents,
    scale: Annotated[float, Field(gt=0, description="2 = twice as wide and high")],
    method: Literal["nearest-exact", "bilinear", "bicubic", "area"] = "nearest-exact",
) -> Latents:
    """Resize latents, to be denoised further at another size."""
    sides = [max(1, round(scale * side)) for side in latents.shape[-2:]]
    return functional.interpolate(latents, sides, mode=method)


@node
def crop_latents(
    latents: Latents, left: Pixels, top: Pixels, width: Pixels, height: Pixels
) -> Latents:
    """Cut a rectangle, given in latents, out of latents; ValueError where it reaches beyond."""
    return cut("latents", latents, left, top, width, height)


@node
def composite_latents(latents: Latents, onto: Latents, mask: Mask) -> Latents:
    """Put latents onto others where the mask says so.

    The mask of a picture is taken at every latent's first pixel, as in diffusers; what is given
    once serves all pictures.
    """
    expect_same_size(latents=latents, onto=onto)
    small = functional.interpolate(mask.to(latents), latents.shape[-2:], mode="nearest")
    return torch.lerp(onto.to(latents), latents, small)


@node
def interpolate_latents(
    first: Latents,
    second: Latents,
    amount: Annotated[float, Field(ge=0, le=1, description="0 = the first, 1 = the second")],
) -> Latents:
    """Go from one noise to another along the sphere that both lie on (slerp).

    Straight between them noise would be weaker than the network expects. Parallel latents, which
    have no arc between them, are mixed straight.
    """
    dims = (1, 2, 3)
    lengths = [torch.linalg.vector_norm(part, dim=dims, keepdim=True) for part in (first, second)]
    cosine = (first * second).sum(dims, keepdim=True) / (lengths[0] * lengths[1])
    angle = cosine.clamp(-1, 1).acos()  # B 1 1 1
    arc = (((1 - amount) * angle).sin() * first + (amount * angle).sin() * second) / angle.sin()
    return torch.where(cosine.abs() > 0.9995, torch.lerp(first, second, amount), arc)


@node
def repeat_latents(latents: Latents, count: Annotated[int, Field(ge=1)]) -> Latents:
    """Repeat latents, all of them so many times in a row."""
    return latents.repeat(count, 1, 1, 1)


@node
def batch_latents(parts: list[Latents]) -> Latents:
    """Put latents behind each other, to be denoised together; raises ValueError for other sizes."""
    sizes = {tuple(part.shape[1:]) for part in parts}
    if len(sizes) != 1:
        found = ", ".join("×".join(map(str, size)) for size in sorted(sizes)) or "none"
        raise ValueError(f"`parts` must have one number of channels and one size, found {found}")
    return torch.cat(parts)


@node
def take_latents(
    latents: Latents,
    first: Annotated[int, Field(ge=0, description="0 = the first picture")] = 0,
    count: Annotated[int, Field(ge=1)] = 1,
) -> Latents:
    """Take some pictures out of several; raises ValueError where there are fewer."""
    if first + count > len(latents):
        raise ValueError(f"`latents` are {len(latents)} pictures, {first + count} are asked for")
    return latents[first : first + count]


@node
def no_latents(latents: Latents) -> Latents:
    """Give zeros in the place of latents: a picture that is not shown."""
    return torch.zeros_like(latents)


@node
def depth_channel(depth: Image, latents: Latents) -> Latents:
    """Make a depth map, near is white, what depth networks read beside the sample: -1 to 1.

    The map is resized to the latents and stretched over its own range, as in diffusers.
    """
    grey = depth.mean(dim=1, keepdim=True).to(latents)  # B 1 H W
    small = functional.interpolate(grey, latents.shape[-2:], mode="bicubic")
    low, high = (edge(small, dim=(1, 2, 3), keepdim=True) for edge in (torch.amin, torch.amax))
    flat = high == low  # no depth at all: zeros
    return torch.where(flat, 0, 2 * (small - low) / (high - low).where(~flat, 1) - 1)


@node
def keep(state: State, latents: Latents, mask: Mask) -> State:
    """Put back what the mask keeps, so that a step has changed only the rest."""
    return state._replace(sample=composite_latents(state.sample, latents, mask))
