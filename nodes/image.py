"""Between latents, pictures and files."""

from pathlib import Path
from typing import Annotated

import torch
from PIL import Image as Picture
from PIL import ImageOps
from pydantic import AfterValidator

from graph import node

from .files import write_whole
from .kinds import Image, Latents
from .models import AutoencoderKL


def _has_picture_format(path: str) -> str:
    if Picture.registered_extensions().get(Path(path).suffix.lower()) not in Picture.SAVE:
        raise ValueError("must end in a picture format, .png or .jpg for example")
    return path


# Checked with the graph: a wrong ending should not be found when the picture is already made.
PicturePath = Annotated[str, AfterValidator(_has_picture_format)]


@node
def vae_decode(vae: AutoencoderKL, latents: Latents) -> Image:
    """Decode latents to pictures, undoing the scale and shift that the checkpoint trained with."""
    config = vae.config
    dtype = next(vae.parameters()).dtype
    own = latents / config.scaling_factor + (config.shift_factor or 0)
    return to_image(vae.decode(own.to(dtype)).float())


@node
def vae_encode(vae: AutoencoderKL, image: Image) -> Latents:
    """Encode pictures to the mean of their latents, in the scale of the checkpoint's UNet."""
    config = vae.config
    dtype = next(vae.parameters()).dtype
    own = vae.encode((2 * image - 1).to(dtype)).mean.float()
    return (own - (config.shift_factor or 0)) * config.scaling_factor


@node
def to_image(sample: Latents) -> Image:
    """Take a sample that is pixels in [-1, 1] as pictures in [0, 1]."""
    return (sample / 2 + 0.5).clamp(0, 1)


@node(effect=True)
def save_image(image: Image, path: PicturePath) -> list[Path]:
    """Save pictures to a file; several get a number before the ending. Gives the paths.

    A file appears whole or not at all.
    """
    target = Path(path).expanduser()
    pixels = (image * 255).round().to("cpu", torch.uint8).permute(0, 2, 3, 1)  # B H W C
    paths = [target]
    if len(pixels) > 1:
        paths = [target.with_stem(f"{target.stem}-{number}") for number in range(len(pixels))]
    for file, picture in zip(paths, pixels, strict=True):
        write_whole(file, Picture.fromarray(picture.numpy()).save)
    return paths


@node
def load_image(path: str) -> Image:
    """Load a picture in RGB, turned the way its camera was held."""
    with Picture.open(Path(path).expanduser()) as file:
        picture = ImageOps.exif_transpose(file).convert("RGB")
    pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    pixels = pixels.reshape(picture.height, picture.width, 3)
    return pixels.permute(2, 0, 1)[None].float() / 255  # 1 3 H W
