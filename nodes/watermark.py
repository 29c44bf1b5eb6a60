"""An invisible mark in pictures, which says that a machine made them."""

from importlib import import_module
from typing import Annotated

import torch
from pydantic import Field

from graph import node

from .kinds import Image

SDXL = "101100111110110010010000011110111011000110011110"
SMALLEST = 256 * 256  # of a picture, in pixels: fewer do not hold a mark


@node
def watermark(
    image: Image,
    bits: Annotated[
        str, Field(pattern="^[01]+$", description="the mark; the default is that of SDXL's authors")
    ] = SDXL,
) -> Image:
    """Mark pictures invisibly, as SDXL's pipelines do; needs the extra `watermark`.

    The mark is in the wavelets' cosine transform, and read by `WatermarkDecoder("bits", 48)` of
    invisible-watermark; in smooth pictures it is faint. Raises ValueError for pictures that are
    too small to hold it.
    """
    try:
        library = import_module("imwatermark")
    except ImportError as error:
        raise ImportError(
            "a watermark needs invisible-watermark: pip install 'run-graph[watermark]'"
        ) from error
    height, width = image.shape[-2:]
    if height * width < SMALLEST:
        raise ValueError(f"`image` is {width}×{height}, a watermark needs as much as 256×256")
    if image.is_meta:  # a check has no numbers to mark
        return image
    encoder = library.WatermarkEncoder()
    encoder.set_watermark("bits", [int(bit) for bit in bits])
    pixels = (255 * image).flip(1).permute(0, 2, 3, 1).float().cpu()  # B H W, blue green red
    marked = [torch.from_numpy(encoder.encode(one.numpy(), "dwtDct")) for one in pixels]
    return (torch.stack(marked).permute(0, 3, 1, 2).flip(1) / 255).clamp(0, 1).to(image)
