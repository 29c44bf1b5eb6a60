"""The training pictures: emoji on plain backgrounds, with captions that can be checked."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

import numpy
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
FONT_SIZE = 109  # the only size that the bitmap font has
SIZE = 64

OBJECTS = {
    "apple": "🍎", "banana": "🍌", "lemon": "🍋", "strawberry": "🍓", "cherry": "🍒",
    "watermelon": "🍉", "pineapple": "🍍", "carrot": "🥕", "mushroom": "🍄", "pizza": "🍕",
    "hamburger": "🍔", "doughnut": "🍩", "cat": "🐱", "dog": "🐶", "rabbit": "🐰", "fox": "🦊",
    "bear": "🐻", "panda": "🐼", "frog": "🐸", "monkey": "🐵", "pig": "🐷", "tiger": "🐯",
    "lion": "🦁", "penguin": "🐧", "chick": "🐥", "octopus": "🐙", "crab": "🦀", "butterfly": "🦋",
    "ladybug": "🐞", "turtle": "🐢", "tree": "🌳", "cactus": "🌵", "sunflower": "🌻", "tulip": "🌷",
    "house": "🏠", "car": "🚗", "rocket": "🚀", "balloon": "🎈", "umbrella": "☂️", "guitar": "🎸",
    "basketball": "🏀", "heart": "❤️", "star": "⭐", "sun": "🌞", "snowman": "⛄", "ghost": "👻",
    "robot": "🤖", "pumpkin": "🎃",
}  # fmt: skip

COLOURS = {
    "white": (255, 255, 255), "black": (16, 16, 20), "grey": (140, 140, 145), "red": (205, 45, 50),
    "orange": (250, 145, 30), "yellow": (250, 220, 80), "green": (60, 165, 80),
    "blue": (55, 115, 225), "purple": (135, 75, 185), "pink": (250, 165, 200),
}  # fmt: skip

# The left upper corner and the size of each object, in pixels.
ARRANGEMENTS = {
    "one": ((8, 8, 48),),
    "left": ((2, 17, 30),),
    "right": ((32, 17, 30),),
    "two": ((2, 17, 30), (32, 17, 30)),
    "three": ((2, 2, 30), (32, 2, 30), (17, 32, 30)),
}

PLURALS = {
    "butterfly": "butterflies", "cactus": "cacti", "cherry": "cherries", "fox": "foxes",
    "octopus": "octopuses", "strawberry": "strawberries",
}  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """What a picture shows; everything in it can be measured in the picture."""

    object: str
    colour: str
    arrangement: str


SCENES = [Scene(*parts) for parts in product(OBJECTS, COLOURS, ARRANGEMENTS)]


def is_held_out(scene: Scene) -> bool:
    """Keep every seventh combination out of the training, so that scores can be honest."""
    order = (list(OBJECTS), list(COLOURS), list(ARRANGEMENTS))
    name, colour, arrangement = (
        names.index(part)
        for names, part in zip(order, (scene.object, scene.colour, scene.arrangement), strict=True)
    )
    return (name + 3 * colour + 2 * arrangement) % 7 == 0


@cache
def glyph(name: str, size: int) -> Image.Image:
    """Draw one object on a transparent square of `size` pixels.

    Raises FileNotFoundError where the font is not installed.
    """
    if not FONT.is_file():
        raise FileNotFoundError(f"{FONT} is missing: install Debian's fonts-noto-color-emoji")
    font = ImageFont.truetype(FONT, FONT_SIZE)
    large = Image.new("RGBA", (160, 160))
    ImageDraw.Draw(large).text((8, 8), OBJECTS[name], font=font, embedded_color=True)
    box = large.getbbox()
    assert box is not None, f"the font has no picture of '{name}'"
    cropped = large.crop(box)
    side = max(cropped.size)
    square = Image.new("RGBA", (side, side))
    square.paste(cropped, ((side - cropped.width) // 2, (side - cropped.height) // 2))
    return square.resize((size, size), Image.Resampling.LANCZOS)


def draw(scene: Scene) -> Image.Image:
    """Compose the picture (64 × 64, RGB) of a scene."""
    return compose(scene.object, scene.colour, SIZE, ARRANGEMENTS[scene.arrangement])


def compose(
    name: str, colour: str, side: int, places: Iterable[tuple[int, int, int]]
) -> Image.Image:
    """Put an object at places (left, top, size) on a plain square."""
    picture = Image.new("RGB", (side, side), COLOURS[colour])
    for left, top, size in places:
        emoji = glyph(name, size)
        picture.paste(emoji, (left, top), emoji)
    return picture


def to_tensor(pictures: Iterable[Image.Image]) -> Tensor:
    """Stack pictures to bytes: (N, 3, H, W)."""
    stacked = numpy.stack([numpy.asarray(picture) for picture in pictures])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous()


def caption(scene: Scene) -> str:
    """Say in words what a scene shows: the form in which it is scored."""
    article = "an" if scene.object[0] in "aeiou" else "a"
    several = PLURALS.get(scene.object, f"{scene.object}s")
    subject = {
        "one": f"{article} {scene.object}",
        "left": f"{article} {scene.object} on the left",
        "right": f"{article} {scene.object} on the right",
        "two": f"two {several}",
        "three": f"three {several}",
    }[scene.arrangement]
    return f"{subject} on a{'n' if scene.colour == 'orange' else ''} {scene.colour} background"
