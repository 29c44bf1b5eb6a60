"""Draws the pictures of docs/gallery.md anew, and writes the page.

python -m tools.gallery
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

import nodes
from graph import load
from nodes.image import contact_sheet, save_animation, save_image
from runtime import Session

ROOT = Path(__file__).parent.parent
PAGE, IMAGES = ROOT / "docs" / "gallery.md", ROOT / "docs" / "images" / "gallery"
SIDE, ENLARGE = 64, 2
TITLE = """\
# Gallery

Pictures by the small checkpoint that comes with run-graph
([`emoji-64`](../graphs/checkpoints/emoji-64/README.md), 64 × 64 pixels, enlarged), each beside
the lines of its graph that make it so. Seeds are the first ones, settings those that show
something. `python -m tools.gallery` draws all anew.
"""


class Section(NamedTuple):
    """A part of the page: the blocks of the graph that are printed, and what one sees."""

    title: str
    graph: str
    blocks: tuple[str, ...]
    command: str
    file: str
    seen: str


SECTIONS = (
    Section(
        "Picture to picture",
        "img2img",
        ("latents", "schedule", "noise", "start"),
        'guidance_scale=3 image=tiger.png prompt="a dog on a blue background" strength=0.16',
        "img2img.png",
        """\
A tiger, and what it becomes at the strengths 0.1, 0.16, 0.22 and 0.3: first the face, then the
ground. A network as small and as sure of itself as this one forgets a picture earlier than large
ones do.""",
    ),
    Section(
        "Painting into a picture",
        "inpaint-any",
        ("kept", "denoise", "result"),
        "guidance_scale=3 image=cat.png mask=mask.png strength=1 count=3 \\\n  "
        'prompt="a dog on the right, blue background"',
        "inpaint.png",
        """\
A cat, the mask, and three seeds. The network was never shown two different things on one picture:
the dog is there, the ground around it is speckled.""",
    ),
    Section(
        "Guidance that changes on the way",
        "guidance-schedule",
        ("scale", "denoise"),
        'prompt="three pandas on a yellow background" scales="[1, 8]" at="[0, 1]"',
        "guidance.png",
        """\
Two seeds with the scales 1, 3 and 8 all along, then 1 rising to 8, then 8 falling to 1. At 1 the
pandas are pale, at 8 they glare and the ground is stained. What comes last decides: falling leaves
the ground nearly clean, rising does not.""",
    ),
    Section(
        "Between two pictures",
        "variations",
        ("first", "other", "mixed", "start"),
        'guidance_scale=1 prompt="" seed=0 variation_seed=1 count=2 amount=0.4',
        "variations.png",
        """\
One noise on its way to two others, a row each, by the amounts 0, 0.2, 0.4, 0.6, 0.8 and 1. The
prompt is empty, so the shapes have no name; after a prompt this network draws nearly the same from
any noise.""",
    ),
    Section(
        "The film of the steps",
        "steps-film",
        ("denoise", "saved"),
        'guidance_scale=3 prompt="two foxes on a purple background" count=2 steps=20 \\\n  '
        "output=steps.webp",
        "steps.webp",
        "What the network takes the picture for at each of 20 steps, from two seeds.",
    ),
)


def main() -> None:
    """Draw all pictures and write the page."""
    assert nodes.__all__  # importing registers the node types
    IMAGES.mkdir(parents=True, exist_ok=True)
    draws: list[Callable[[Path], None]] = [img2img, inpaint, guidance, variations, film]
    with tempfile.TemporaryDirectory() as folder:
        for draw in draws:
            draw(Path(folder))
    PAGE.write_text(page())


def page() -> str:
    """Write the page: every section's picture, command and lines of YAML."""
    parts = [TITLE]
    for section in SECTIONS:
        file = f"{section.graph}.yaml"
        parts.append(
            f"## {section.title}\n\n![{section.title}](images/gallery/{section.file})\n\n"
            f"{section.seen}\n\n"
            f"```sh\nrun-graph {file} model=emoji-64 {section.command}\n```\n\n"
            f"[`{file}`](../graphs/{file}):\n\n"
            f"```yaml\n{excerpt(section.graph, section.blocks)}\n```\n"
        )
    return "\n".join(parts)


def excerpt(graph: str, blocks: tuple[str, ...]) -> str:
    """Give the lines of a graph's file in which these blocks stand."""
    lines = (ROOT / "graphs" / f"{graph}.yaml").read_text().splitlines()
    kept: list[str] = []
    inside = False
    for line in lines[lines.index("nodes:") + 1 : lines.index("outputs:")]:
        begins = line.startswith("  ") and not line.startswith("   ")
        inside = line.strip().startswith(tuple(f"{it}:" for it in blocks)) if begins else inside
        kept += [line] if inside and line else []
    return "\n".join(kept)


def run(graph: str, folder: Path, **inputs: Any) -> dict[str, Any]:
    """Run a shipped graph by the small checkpoint."""
    given = {"model": "emoji-64", "guidance_scale": 3.0, "output": str(folder / "out.png")} | inputs
    known = load(graph)
    given = {name: value for name, value in given.items() if name in known.inputs}
    return Session("cpu", "float32")(known, **given)


def enlarged(image: Tensor) -> Tensor:
    """Make every pixel a square of several."""
    return functional.interpolate(image, scale_factor=ENLARGE, mode="nearest")


def save(file: str, pictures: list[Tensor], columns: int) -> None:
    """Save pictures side by side."""
    sheet = contact_sheet(enlarged(torch.cat(pictures)), columns)
    save_image(sheet, str(IMAGES / file))


def source(folder: Path, prompt: str, file: str) -> tuple[Tensor, str]:
    """Draw a picture that another graph begins with."""
    path = str(folder / file)
    return run("emoji", folder, prompt=prompt, output=path)["image"], path


def img2img(folder: Path) -> None:
    """Turn a tiger into a dog."""
    before, path = source(folder, "a tiger on a green background", "tiger.png")
    prompt = "a dog on a blue background"
    after = [
        run("img2img", folder, image=path, prompt=prompt, strength=strength)["image"]
        for strength in (0.1, 0.16, 0.22, 0.3)
    ]
    save("img2img.png", [before, *after], 5)


def inpaint(folder: Path) -> None:
    """Put a dog beside a cat."""
    before, path = source(folder, "a cat on the left, blue background", "cat.png")
    mask = torch.zeros(1, 3, SIDE, SIDE)
    mask[..., SIDE // 2 :] = 1
    save_image(mask, str(folder / "mask.png"))
    after = run(
        "inpaint-any", folder, image=path, mask=str(folder / "mask.png"), count=3, strength=1.0,
        prompt="a dog on the right, blue background",
    )["image"]  # fmt: skip
    save("inpaint.png", [before, mask, after], 5)


def guidance(folder: Path) -> None:
    """Compare scales that stay with scales that change."""
    prompt = "three pandas on a yellow background"
    ways = ([1.0, 1.0], [3.0, 3.0], [8.0, 8.0], [1.0, 8.0], [8.0, 1.0])
    found = [
        run("guidance-schedule", folder, prompt=prompt, scales=scales, at=[0, 1], count=2)["image"]
        for scales in ways
    ]
    save("guidance.png", [image[k : k + 1] for k in range(2) for image in found], len(ways))


def variations(folder: Path) -> None:
    """Go from one picture to two others."""
    found = [
        run(
            "variations", folder, prompt="", guidance_scale=1.0, seed=0, variation_seed=1, count=2,
            amount=amount,
        )["image"]
        for amount in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    ]  # fmt: skip
    save("variations.png", [image[k : k + 1] for k in range(2) for image in found], len(found))


def film(folder: Path) -> None:
    """Show the estimate at every step."""
    prompt = "two foxes on a purple background"
    frames = run(
        "steps-film", folder, prompt=prompt, steps=20, count=2, output=str(folder / "steps.webp")
    )["frames"]
    save_animation([enlarged(frame) for frame in frames], str(IMAGES / "steps.webp"))


if __name__ == "__main__":
    main()
