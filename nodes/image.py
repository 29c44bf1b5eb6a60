"""Between latents, pictures and files."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import torch
from PIL import Image as Picture
from PIL import ImageOps
from pydantic import AfterValidator, Field
from torch import Tensor
from torch.nn import functional

from graph import Kind, Sparing, Written, came_from, node

from .files import file_at, save_whole
from .kinds import Device, Image, Latents
from .metadata import Provenance, save_options
from .models import Autoencoder


def _has_picture_format(path: str) -> str:
    if Picture.registered_extensions().get(Path(path).suffix.lower()) not in Picture.SAVE:
        raise ValueError("must end in a picture format, .png or .jpg for example")
    return path


# Checked with the graph: a wrong ending should not be found when the picture is already made.
PicturePath = Annotated[str, AfterValidator(_has_picture_format), Written()]


def _has_animation_format(path: str) -> str:
    if Path(path).suffix.lower() not in (".gif", ".webp", ".png", ".apng"):
        raise ValueError("must end in a format that moves: .gif, .webp or .png")
    return path


Frame = Annotated[Tensor, Kind("image", "1 1|3|4 H W")]
AnimationPath = Annotated[str, AfterValidator(_has_animation_format), Written()]


Tile = Annotated[
    int | None,
    Field(ge=64, description="work in tiles of so many pixels, for large pictures; null = whole"),
    Sparing((512, 256)),
]


@node
def vae_decode(vae: Autoencoder, latents: Latents, tile: Tile = None) -> Image:
    """Decode latents to pictures, undoing the scale and shift that the checkpoint trained with."""
    if latents.shape[1] != vae.channels:
        raise ValueError(
            f"this autoencoder's latents have {vae.channels} channels, `latents` has "
            f"{latents.shape[1]}: is the autoencoder that of another checkpoint?"
        )
    own = vae.unscaled(latents).to(next(vae.parameters()))
    decoded = (
        vae.decode(own)
        if tile is None
        else torch.cat([vae.decode(one, tile // vae.factor) for one in own.split(1)])
    )
    return to_image(decoded.to(latents.device, torch.float32))


@node
def vae_encode(
    vae: Autoencoder,
    image: Image,
    device: Device,
    noise: Annotated[
        Latents | None, Field(description="to draw from the latents' distribution; null = its mean")
    ] = None,
    scaled: Annotated[
        bool, Field(description="false = the autoencoder's own scale, as InstructPix2Pix reads it")
    ] = True,
    tile: Tile = None,
) -> Latents:
    """Encode pictures to latents, in the scale of the checkpoint's UNet.

    Raises ValueError for a picture whose sides are no multiples of the autoencoder's factor.
    """
    height, width = image.shape[-2:]
    if height % vae.factor or width % vae.factor:
        raise ValueError(
            f"`image` is {width}×{height}, and both sides must be multiples of {vae.factor}"
        )
    picture = (2 * image - 1).to(next(vae.parameters()))
    found = vae.encode(picture, tile and tile // vae.factor)
    own = found.mean if noise is None else found.sample(noise.to(found.mean))
    own = own.to(device, torch.float32)
    return vae.scaled(own) if scaled else own


@node
def to_image(sample: Latents) -> Image:
    """Take a sample that is pixels in [-1, 1] as pictures in [0, 1]."""
    return (sample / 2 + 0.5).clamp(0, 1)


@node
def to_sample(image: Image, device: Device) -> Latents:
    """Take pictures in [0, 1] as pixels in [-1, 1], as networks without autoencoder read them."""
    return (2 * image - 1).to(device)


Metadata = Annotated[
    bool, Field(description="write into the file how it was made; false = the pixels alone")
]


@node(effect=True)
def save_image(
    image: Image, path: PicturePath, provenance: Provenance = None, metadata: Metadata = True
) -> list[Path]:
    """Save pictures to a file; several get a number before the ending. Gives the paths.

    A file appears whole or not at all.
    """
    target = Path(path).expanduser()
    pictures = pictures_of(image)
    paths = [target]
    if len(pictures) > 1:
        paths = [target.with_stem(f"{target.stem}-{number}") for number in range(len(pictures))]
    record = provenance() if provenance and metadata else None
    writes: dict[Path, Callable[[Path], object]] = {}
    for index, (file, picture) in enumerate(zip(paths, pictures, strict=True)):
        options = save_options(file, [picture], record, index) if record else {}
        writes[file] = partial(_without_opacity(picture, file).save, **options)
    save_whole(writes)
    return paths


def _without_opacity(picture: Picture.Image, file: Path) -> Picture.Image:
    """Take away how opaque a picture is where a JPEG is to hold it, which cannot."""
    is_jpeg = Picture.registered_extensions()[file.suffix.lower()] == "JPEG"
    return picture.convert("RGB") if is_jpeg and picture.mode == "RGBA" else picture


def pictures_of(image: Image) -> list[Picture.Image]:
    """Give pictures as Pillow has them, as they are saved."""
    return [_picture(pixels) for pixels in _bytes(image)]


def _bytes(image: Image) -> Tensor:
    return (image * 255).round().to("cpu", torch.uint8).permute(0, 2, 3, 1)  # B H W C


def _picture(pixels: Tensor) -> Picture.Image:
    return Picture.fromarray((pixels[..., 0] if pixels.shape[-1] == 1 else pixels).numpy())


@node(reads=file_at)
def load_image(path: str) -> Image:
    """Load a picture in RGB, turned the way its camera was held."""
    return read_picture(path, "RGB")


def read_picture(path: str, mode: Literal["RGB", "L"]) -> Tensor:
    """Read a file as numbers in [0, 1], (1, 3, H, W) or (1, 1, H, W) of grey."""
    file = Path(path).expanduser()
    with Picture.open(file) as opened:
        picture = ImageOps.exif_transpose(opened).convert(mode)
    pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    pixels = pixels.reshape(picture.height, picture.width, -1)
    return came_from(pixels.permute(2, 0, 1)[None].float() / 255, file)  # 1 C H W


Side = Annotated[int, Field(ge=8, le=16384)] | Literal["auto"]
Pixels = Annotated[int, Field(ge=0)]


@node
def resize_image(
    image: Image,
    width: Side = "auto",
    height: Side = "auto",
    multiple: Annotated[int, Field(ge=1, description="of which `auto` sides are made")] = 8,
    crop: Annotated[bool, Field(description="keep the proportions, cut what is over")] = False,
    scale: Annotated[float, Field(gt=0, description="of `auto` sides")] = 1.0,
) -> Image:
    """Resize pictures; `auto` is a picture's own side times `scale`, down to a multiple of eight.

    Bicubic and free of aliasing; `crop` keeps the centre, otherwise a picture is stretched.
    """
    sizes = zip(image.shape[-2:], (height, width), strict=True)
    tall, wide = (
        int(own * scale) // multiple * multiple if side == "auto" else side for own, side in sizes
    )
    if min(tall, wide) < 1:
        raise ValueError(f"`image` is smaller than {multiple} pixels: give `width` and `height`")
    if crop:
        image = _centre(image, tall, wide)
    if tuple(image.shape[-2:]) == (tall, wide):
        return image
    resized = functional.interpolate(image, (tall, wide), mode="bicubic", antialias=True)
    return resized.clamp(0, 1)


def _centre(image: Image, tall: int, wide: int) -> Image:
    """Cut out the largest part of the middle that has the proportions of a size."""
    own_tall, own_wide = image.shape[-2:]
    cut_tall = min(own_tall, round(own_wide * tall / wide))
    cut_wide = min(own_wide, round(own_tall * wide / tall))
    top, left = (own_tall - cut_tall) // 2, (own_wide - cut_wide) // 2
    return image[..., top : top + cut_tall, left : left + cut_wide]


class ImageSize(NamedTuple):
    """The sides of a picture, in pixels."""

    width: int
    height: int


@node
def image_size(image: Image) -> ImageSize:
    """Measure pictures, so that a sample can be as large as they are."""
    return ImageSize(image.shape[-1], image.shape[-2])


@node
def canny(
    image: Image,
    low: Annotated[int, Field(ge=0, description="weaker changes are no edge")] = 100,
    high: Annotated[
        int, Field(ge=0, description="stronger ones are; between, next to an edge")
    ] = 200,
) -> Image:
    """Draw the edges of pictures, white on black, as ControlNets were trained: by OpenCV's Canny.

    The limits are for pictures of 8 bit.
    """
    try:
        import cv2
    except ImportError as error:
        raise ImportError("edges need OpenCV: pip install 'run-graph[edges]'") from error
    if image.is_meta:  # a check has no numbers to draw
        return image.expand(-1, 3, -1, -1)
    edges = [torch.from_numpy(cv2.Canny(pixels.numpy(), low, high)) for pixels in _bytes(image)]
    drawn = torch.stack(edges)[:, None].to(image) / 255  # B 1 H W
    return drawn.expand(-1, 3, -1, -1)


@node
def crop_image(image: Image, left: Pixels, top: Pixels, width: Pixels, height: Pixels) -> Image:
    """Cut a rectangle out of pictures; raises ValueError where it reaches beyond them."""
    return cut("image", image, left, top, width, height)


def cut(port: str, whole: Tensor, left: int, top: int, width: int, height: int) -> Tensor:
    """Cut a rectangle out of what a port was given."""
    tall, wide = whole.shape[-2:]
    if left + width > wide or top + height > tall:
        raise ValueError(
            f"the rectangle ends at {left + width}, {top + height}, and `{port}` is {wide}×{tall}"
        )
    return whole[..., top : top + height, left : left + width]


Sigma = Annotated[float, Field(gt=0, description="in pixels")]


@node
def blur_image(image: Image, sigma: Sigma) -> Image:
    """Soften pictures by a Gaussian, cut at three sigma; their edges are continued outwards."""
    return blurred(image, sigma)


def blurred(picture: Tensor, sigma: float) -> Tensor:
    """Convolve each channel with a Gaussian, first down, then across."""
    reach = max(1, round(3 * sigma))
    places = torch.arange(-reach, reach + 1, dtype=picture.dtype, device=picture.device)
    weights = (-0.5 * (places / sigma) ** 2).exp()
    weights = (weights / weights.sum())[None, None]  # 1 1 window
    channels = picture.flatten(0, 1)[:, None]  # BC 1 H W
    padded = functional.pad(channels, (reach,) * 4, mode="replicate")
    down = functional.conv2d(padded, weights[..., None])
    return functional.conv2d(down, weights[..., None, :]).view(picture.shape)


@node
def contact_sheet(
    image: Image,
    columns: Annotated[int | None, Field(ge=1, description="null = about as many as rows")] = None,
    gap: Annotated[int, Field(ge=0, description="pixels between pictures, white")] = 8,
) -> Image:
    """Lay pictures side by side on one, row by row."""
    count, _, tall, wide = image.shape
    across = columns or math.ceil(math.sqrt(count))
    down = math.ceil(count / across)
    size = (down * (tall + gap) - gap, across * (wide + gap) - gap)
    sheet = image.new_ones(1, image.shape[1], *size)
    for number, picture in enumerate(image):
        top, left = number // across * (tall + gap), number % across * (wide + gap)
        sheet[0, :, top : top + tall, left : left + wide] = picture
    return sheet


@node(effect=True)
def save_animation(
    frames: list[Frame],
    path: AnimationPath,
    seconds: Annotated[float, Field(gt=0, le=300, description="that each frame is shown")] = 0.15,
    hold: Annotated[
        float, Field(ge=0, le=300, description="how much longer the last is shown")
    ] = 1.5,
    provenance: Provenance = None,
    metadata: Metadata = True,
) -> Path:
    """Save pictures as the frames of an animation that runs for ever: GIF, WebP or PNG.

    It is as large as the first frame. Raises ValueError where a frame is several pictures:
    `contact_sheet` makes them one.
    """
    counts = {len(frame) for frame in frames}
    if counts != {1}:
        raise ValueError(f"a frame is one picture, found {max(counts, default=0)} in one")
    target = Path(path).expanduser()
    first, *others = [picture for frame in frames for picture in pictures_of(frame)]
    others = [other.crop((0, 0, *first.size)) for other in others]
    shown = [round(1000 * seconds)] * len(frames)
    shown[-1] += round(1000 * hold)
    options = {"save_all": True, "append_images": others, "duration": shown, "loop": 0}
    if provenance and metadata:
        options |= save_options(target, [first, *others], provenance())
    save_whole({target: partial(first.save, **options)})
    return target
