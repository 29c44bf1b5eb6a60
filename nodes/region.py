"""What holds at some steps only, or in some part of the picture only."""

from itertools import pairwise
from typing import Annotated, TypeVar

import torch
import torch.nn.functional as F
from pydantic import AfterValidator, Field
from torch import Tensor

from graph import node

from .kinds import Latents, Mask, Prediction, Schedule

Value = TypeVar("Value")


def _is_box(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = box
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise ValueError(
            "must be [left, top, right, bottom] in parts of the picture: [0, 0, 0.5, 1] = its left"
        )
    return box


@node
def keyframes(
    schedule: Schedule,
    values: list[float],
    at: Annotated[
        list[float],
        Field(description="when each value holds, 0 = the first step, 1 = the last"),
    ],
) -> list[float]:
    """Give every step of a schedule a number, on straight lines from keyframe to keyframe.

    Before the first keyframe its value holds, and after the last one that.
    """
    if len(values) != len(at):
        raise ValueError(f"there are {len(values)} values and {len(at)} times in `at`")
    rising = all(one < other for one, other in pairwise(at))
    if not at or not rising or at[0] < 0 or at[-1] > 1:
        raise ValueError(f"`at` must rise from 0 or more to 1 or less, found {at}")
    first, last = schedule.first, max(len(schedule.table.timesteps) - 1, 1)
    parts = [number / last for number in range(first, first + len(schedule))]
    return [_on_the_line(part, values, at) for part in parts]


def _on_the_line(part: float, values: list[float], at: list[float]) -> float:
    """Find the value at a part of the steps, between the keyframes around it."""
    if part <= at[0]:
        return values[0]
    for (start, end), (first, second) in zip(pairwise(at), pairwise(values), strict=True):
        if part <= end:
            return first + (second - first) * (part - start) / (end - start)
    return values[-1]


@node
def each_step(
    schedule: Schedule,
    values: list[Value],
    starts: Annotated[
        list[float],
        Field(description="when each value begins, 0 = the first step, 0.5 = half the steps done"),
    ],
) -> list[Value]:
    """Give every step of a schedule its value, such as the text that it reads.

    Of values that have begun, the last one counts.
    """
    if len(values) != len(starts):
        raise ValueError(f"there are {len(values)} values and {len(starts)} `starts`")
    rising = all(one < other for one, other in pairwise(starts))
    if not starts or starts[0] != 0 or not rising or starts[-1] >= 1:
        raise ValueError(f"`starts` must begin with 0 and rise, all below 1, found {starts}")
    first, whole = schedule.first, len(schedule.table.timesteps)
    parts = [number / whole for number in range(first, first + len(schedule))]
    return [values[sum(start <= part for start in starts) - 1] for part in parts]


@node
def box_mask(
    latents: Latents,
    box: Annotated[
        tuple[float, float, float, float],
        AfterValidator(_is_box),
        Field(description="[left, top, right, bottom] in parts of the picture"),
    ],
) -> Mask:
    """Mark a box of a picture, as large as its latents; a latent that it cuts is marked in part."""
    height, width = latents.shape[-2:]
    left, top, right, bottom = box
    across, down = _covered(left, right, width), _covered(top, bottom, height)
    return (down[:, None] * across)[None, None].to(latents)  # 1 1 H W


def _covered(start: float, end: float, count: int) -> Tensor:
    """Say how much of each of `count` equal parts of [0, 1] lies between start and end."""
    edges = (torch.arange(count + 1) / count).clamp(start, end)
    return edges.diff() * count


@node
def mix_regions(inside: Prediction, outside: Prediction, mask: Mask) -> Prediction:
    """Take one prediction where a mask is 1 and another where it is 0 (arXiv:2302.08113).

    A mask of another size, such as a picture's, is averaged over every latent.
    """
    small = F.interpolate(mask.to(inside), inside.shape[-2:], mode="area")
    return torch.lerp(outside, inside, small)
