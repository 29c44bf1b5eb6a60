"""Large pictures part by part: tiles that overlap, blended where they do."""

from collections.abc import Callable

import torch
from torch import Tensor

OVERLAP = 8  # a tile shares this fraction, an eighth, of its side with the next


def in_tiles(
    function: Callable[[Tensor], Tensor], x: Tensor, tile: int, *, reads: int, gives: int
) -> Tensor:
    """Apply a function of feature maps to tiles of (B, C, reads·h, reads·w), and join the results.

    For every latent of its h × w grid the function reads `reads` pixels along each side and gives
    `gives`; a tile has `tile` × `tile` latents. Where tiles overlap, one fades into the other, so
    no seam shows; only what the function gathers from further away than a tile differs.
    """
    height, width = x.shape[2] // reads, x.shape[3] // reads
    rows, columns = _starts(height, tile), _starts(width, tile)
    if len(rows) == len(columns) == 1:
        return function(x)
    down, across = _fades(rows, height, tile), _fades(columns, width, tile)
    whole: Tensor | None = None
    for row, fade_down in zip(rows, down, strict=True):
        for column, fade_across in zip(columns, across, strict=True):
            part = function(
                x[
                    :,
                    :,
                    reads * row : reads * (row + tile),
                    reads * column : reads * (column + tile),
                ]
            )
            fade = torch.outer(
                fade_down.repeat_interleave(gives), fade_across.repeat_interleave(gives)
            )
            if whole is None:
                size = (gives * height, gives * width)
                whole = part.new_zeros(*part.shape[:2], *size, dtype=torch.float32)
            place = (
                slice(gives * row, gives * row + part.shape[2]),
                slice(gives * column, gives * column + part.shape[3]),
            )
            whole[:, :, *place] += part * fade.to(part.device)
    assert whole is not None  # there is at least one tile
    return whole.to(x.dtype)


def _starts(length: int, tile: int) -> list[int]:
    """Say where tiles begin that cover a length evenly."""
    if length <= tile:
        return [0]
    step = tile - max(tile // OVERLAP, 1)
    count = -(-(length - tile) // step) + 1
    return [round(number * (length - tile) / (count - 1)) for number in range(count)]


def _fades(starts: list[int], length: int, tile: int) -> list[Tensor]:
    """Weigh the places of each tile so that the weights of every place add up to one."""
    weights = torch.zeros(len(starts), length)
    for number, start in enumerate(starts):
        end = min(start + tile, length)
        place = torch.arange(start, end, dtype=torch.float32)
        # How deep in the tile a place lies; the picture's own edges are no edges of a tile.
        before = place - start + 0.5 if number else torch.full_like(place, torch.inf)
        last = number == len(starts) - 1
        behind = torch.full_like(place, torch.inf) if last else end - place - 0.5
        weights[number, start:end] = torch.minimum(before, behind).clamp(max=tile)
    # Beyond the overlap only one tile has a weight; within it the deeper one counts more.
    weights = weights / weights.sum(dim=0)
    return [
        weights[number, start : start + min(tile, length)] for number, start in enumerate(starts)
    ]
