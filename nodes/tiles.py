"""Samples larger than the network was trained at: in tiles that overlap."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from graph import node

from .kinds import Latents, Prediction

TileSize = Annotated[int, Field(ge=8, description="side of a tile, in latents")]
Overlap = Annotated[int, Field(ge=0, description="of neighbours at least, in latents")]


@node
def cut_tiles(sample: Latents, size: TileSize = 64, overlap: Overlap = 16) -> Latents:
    """Cut samples into tiles that overlap and cover them: all samples' first tiles, then the next.

    A side that is smaller than a tile is one tile.
    """
    return torch.cat(
        [sample[..., rows, columns] for rows, columns in _places(sample, size, overlap)]
    )


@node
def blend_tiles(
    tiles: Prediction, sample: Latents, size: TileSize = 64, overlap: Overlap = 16
) -> Prediction:
    """Put what was predicted for the tiles of a sample together (MultiDiffusion, arXiv:2302.08113).

    Where tiles overlap, each counts the more the farther its edge is: so no seam is left.
    """
    places = _places(sample, size, overlap)
    if len(tiles) != len(places) * len(sample):
        raise ValueError(f"there are {len(tiles)} tiles, expected {len(places) * len(sample)}")
    total = tiles.new_zeros(len(sample), tiles.shape[1], *sample.shape[-2:])
    weights = torch.zeros_like(total[:1, :1])
    shape = _weights(tiles, overlap)
    for (rows, columns), tile in zip(places, tiles.split(len(sample)), strict=True):
        total[..., rows, columns] += shape * tile
        weights[..., rows, columns] += shape
    return total / weights


def _places(sample: Tensor, size: int, overlap: int) -> list[tuple[slice, slice]]:
    if overlap >= size:
        raise ValueError(f"`overlap` {overlap} must be less than the tiles, which are {size}")
    rows, columns = (_spans(side, size, overlap) for side in sample.shape[-2:])
    return [(row, column) for row in rows for column in columns]


def _spans(side: int, size: int, overlap: int) -> list[slice]:
    """Spread spans of a size evenly over a side, as few as overlap enough."""
    if side <= size:
        return [slice(0, side)]
    gaps = -((side - size) // -(size - overlap))
    begins = [round(index * (side - size) / gaps) for index in range(gaps + 1)]
    return [slice(begin, begin + size) for begin in begins]


def _weights(tiles: Tensor, overlap: int) -> Tensor:
    """Weigh the places of a tile: rising from every edge, as far as tiles overlap."""
    down, across = (
        torch.arange(1, side + 1, device=tiles.device, dtype=tiles.dtype)
        for side in tiles.shape[-2:]
    )
    sides = [torch.minimum(ramp, ramp.flip(0)).clamp(max=overlap + 1) for ramp in (down, across)]
    return sides[0][:, None] * sides[1]  # H W
