"""Convolutions of 3 × 3 with fewer products (Winograd's minimal filtering, arXiv:1509.09308).

Three weights g make two outputs of four pixels d in four products in place of six: of d0-d2 and g0,
of d1+d2 and (g0+g1+g2)/2, and so on. Two outputs that see the same pixels doubled take three.
Along both sides, every product becomes one of matrices, over all patches of a map.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .opaque import opaque

Matrix = tuple[tuple[float, ...], ...]


class Algorithm(NamedTuple):
    """What is added before and after the products that make two outputs in a row."""

    step: int
    """From a patch of pixels to the next."""
    pixels: Matrix
    """A row a product; the first number that is not 0 is 1, and the others are 1 or -1."""
    weights: Matrix
    outputs: Matrix
    """A row an output, as `pixels`; each has product 1 once."""


SAME_SIZE = Algorithm(
    step=2,
    pixels=((1, 0, -1, 0), (0, 1, 1, 0), (0, 1, -1, 0), (0, 1, 0, -1)),
    weights=((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1)),
    outputs=((1, 1, -1, 0), (0, 1, 1, -1)),
)
DOUBLED = Algorithm(
    step=1,
    pixels=((1, -1, 0), (0, 1, 0), (0, 1, -1)),
    weights=((1, 0, 0), (1, 1, 1), (0, 0, 1)),
    outputs=((1, 1, 0), (0, 1, -1)),
)
AT_ONCE = 2**22
"""So many transformed numbers are held at once: the products find them in the cache."""
ROWS_AT_ONCE = 8192
"""So many weights of 3 × 3 are transformed at once: they stay in the cache."""
FEWEST_PATCHES, NARROWEST = 16, 64
"""What products need to take longer than the sums: patches of a picture, so that those beside it
change nothing, and channels on both sides together."""
LARGEST = 1280 * 1024
"""A weight of more is left as it is: its 16 matrices take 16 / 9 of its memory."""


def pays(x: Tensor, outputs: int, doubled: bool) -> bool:
    """Ask whether an input (B, C, H, W) is better convolved so, by what was measured (decision 52).

    What is not doubled only in bfloat16: it is less exact, and float32 is what all is compared to.
    """
    _, channels, height, width = x.shape
    if not doubled and (
        x.dtype != torch.bfloat16 or height % 2 or width % 2 or channels * outputs > LARGEST
    ):
        return False
    patches = height * width // (DOUBLED if doubled else SAME_SIZE).step ** 2
    wide = channels * outputs / (channels + outputs)
    return patches >= FEWEST_PATCHES and wide >= NARROWEST


def transform_weight(weight: Tensor, dtype: torch.dtype, doubled: bool) -> Tensor:
    """Give a weight (O, C, 3, 3) as a matrix (O, C) for each product, rounded once."""
    along = torch.tensor((DOUBLED if doubled else SAME_SIZE).weights, dtype=torch.float32)
    both = torch.kron(along, along)  # P 9
    made = torch.empty(len(both), weight.shape[:2].numel(), dtype=dtype)
    rows = weight.reshape(-1, 9)
    for part, place in zip(rows.split(ROWS_AT_ONCE), made.split(ROWS_AT_ONCE, 1), strict=True):
        place.copy_(both @ part.float().T)
    return made.unflatten(1, weight.shape[:2])


def _winograd(x: Tensor, weight: Tensor, bias: Tensor | None, doubled: bool) -> Tensor:
    algorithm = DOUBLED if doubled else SAME_SIZE
    step, (products, outputs, channels) = algorithm.step, weight.shape
    batch, _, *sides = x.shape
    height, width = (side // step for side in sides)  # of patches
    pixels = x.permute(0, 2, 3, 1)  # B H W C
    made = x.new_empty(batch, height, 2, width, 2, outputs)
    rows = max(AT_ONCE // (products * batch * width * max(channels, outputs)), 1)
    for first in range(0, height, rows):
        place = made[:, first : first + rows]
        above, below = step * first - 1, step * (first + place.shape[1]) + 1
        edges = (0, 0, 1, 1, int(above < 0), int(below > sides[0]))
        seen = F.pad(pixels[:, max(above, 0) : below], edges)
        _convolve_rows(seen, weight, bias, algorithm, place)
    return made.view(batch, 2 * height, 2 * width, outputs).permute(0, 3, 1, 2)


def _convolve_rows(
    pixels: Tensor, weight: Tensor, bias: Tensor | None, algorithm: Algorithm, out: Tensor
) -> None:
    """Convolve padded rows (B, h, w, C) to outputs (B, H, 2, W, 2, O)."""
    patches = _transform_pixels(pixels, algorithm)
    products = torch.bmm(patches.flatten(2, 4).flatten(0, 1), weight.mT)  # R·R BHW O
    products = products.view(*patches.shape[:-1], -1)
    if bias is not None:
        products[1, 1] += bias
    _transform_outputs(products, algorithm, out)


def _transform_pixels(pixels: Tensor, algorithm: Algorithm) -> Tensor:
    """Transform padded rows (B, h, w, C) to what each product needs (R, R, B, H, W, C)."""
    step, rows = algorithm.step, algorithm.pixels
    batch, height, width, channels = pixels.shape
    down, across = ((side - 2) // step for side in (height, width))
    along = pixels.new_empty(len(rows), batch, down, width, channels)
    taps = [pixels[:, k : k + step * down : step] for k in range(len(rows[0]))]
    _combine(taps, rows, along)
    both = pixels.new_empty(len(rows), len(rows), batch, down, across, channels)
    taps = [along[..., k : k + step * across : step, :] for k in range(len(rows[0]))]
    _combine(taps, rows, both.transpose(0, 1))
    return both


def _transform_outputs(products: Tensor, algorithm: Algorithm, out: Tensor) -> None:
    """Transform products (R, R, B, H, W, O) to outputs (B, H, 2, W, 2, O)."""
    along = products.new_empty(2, *products.shape[1:])
    _combine(list(products), algorithm.outputs, along)
    _combine(list(along.transpose(0, 1)), algorithm.outputs, out.permute(4, 2, 0, 1, 3, 5))


def _combine(parts: list[Tensor], rows: Matrix, out: Tensor) -> None:
    """Add parts as the rows of a matrix say, each into its place."""
    for row, place in zip(rows, out, strict=True):
        first, *others = ((part, sign) for part, sign in zip(parts, row, strict=True) if sign)
        if not others:
            place.copy_(first[0])
            continue
        torch.add(first[0], others[0][0], alpha=others[0][1], out=place)
        for part, sign in others[1:]:
            place.add_(part, alpha=sign)


def _convolved(x: Tensor, weight: Tensor, bias: Tensor | None, doubled: bool) -> Tensor:  # noqa: ARG001
    height, width = (side * (1 + doubled) for side in x.shape[2:])
    return x.new_empty(x.shape[0], height, width, weight.shape[1]).permute(0, 3, 1, 2)


# Of (B, C, H, W), with even sides if they are not doubled; the output has channels last.
winograd = opaque(
    "(Tensor x, Tensor weight, Tensor? bias, bool doubled) -> Tensor", _winograd, _convolved
)
