"""Measures what `emoji-64` draws, on prompts that it was not trained on.

python -m tools.emoji.score                      prints the table of the model card
python -m tools.emoji.score --sheet sheet.png    draws 24 of these prompts
python -m tools.emoji.score --graph deep-cache --set every=5 --schedulers ddim --steps 20
"""

import argparse
import random
import tempfile
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

import nodes
from graph import load, parse_inputs
from runtime import Session

from .pictures import COLOURS, SCENES, SIZE, Scene, caption, draw, is_held_out, to_tensor

SCHEDULERS = ("ddpm", "ddim", "euler", "pndm", "dpmpp_2m", "unipc")
STEPS = (5, 10, 20, 50)
BORDER = 1  # pixels at the edge, where no object reaches


def main() -> None:
    """Print the scores, or draw a sheet."""
    assert nodes.__all__  # importing registers the node types
    parser = argparse.ArgumentParser(description="Score emoji-64.")
    parser.add_argument("--model", default="emoji-64")
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--schedulers", nargs="+", default=SCHEDULERS)
    parser.add_argument("--steps", nargs="+", type=int, default=STEPS)
    parser.add_argument("--graph", default="sd15")
    parser.add_argument("--set", nargs="*", default=[], help="inputs of the graph: every=3")
    parser.add_argument("--sheet", type=Path)
    given = parser.parse_args()
    scenes = [scene for scene in SCENES if is_held_out(scene)]
    random.Random(0).shuffle(scenes)
    if given.sheet:
        sheet(generate(given.model, scenes[:24], "unipc", 20), given.sheet)
        print("\n".join(caption(scene) for scene in scenes[:24]))
        return
    print("| sampler | steps | object | arrangement | background |")
    print("| --- | --- | --- | --- | --- |")
    for scheduler in given.schedulers:
        for steps in given.steps:
            chosen = scenes[: given.pictures]
            inputs = parse_inputs(load(given.graph), given.set)
            pictures = generate(given.model, chosen, scheduler, steps, given.graph, **inputs)
            shares = score(pictures, chosen)
            cells = " | ".join(f"{share:.1%}" for share in shares)
            print(f"| {scheduler} | {steps} | {cells} |", flush=True)


def generate(
    model: str, scenes: list[Scene], scheduler: str, steps: int, name: str = "sd15", **inputs: Any
) -> Tensor:
    """Draw every scene from its caption, by a graph: (N, 3, 64, 64) in [0, 1]."""
    pictures: list[Tensor] = []
    session, graph = Session(), load(name)
    inputs = {"guidance_scale": 3.0} | inputs
    given = {key: value for key, value in inputs.items() if key in graph.inputs}
    with tempfile.TemporaryDirectory() as folder:
        for first in range(0, len(scenes), 50):
            part = scenes[first : first + 50]
            outputs = session(
                graph,
                model=model,
                prompt=[caption(scene) for scene in part],
                scheduler=scheduler,
                steps=steps,
                seed=1000 + first,
                count=len(part),
                output=f"{folder}/picture.png",
                **given,
            )
            pictures.append(outputs["image"])
    return torch.cat(pictures)


def score(pictures: Tensor, scenes: list[Scene]) -> tuple[float, ...]:
    """Give the shares of pictures with the right object, arrangement and background.

    Object and arrangement are those of the nearest of all scenes, held out or not, in pixels; the
    background is the colour nearest to the median of the picture's border.
    """
    known = (to_tensor(map(draw, SCENES)) / 255).flatten(1)
    nearest = [SCENES[k] for k in torch.cdist(pictures.flatten(1), known).argmin(dim=1).tolist()]
    palette = torch.tensor(list(COLOURS.values())) / 255
    edges = [
        pictures[:, :, :BORDER].flatten(2), pictures[:, :, -BORDER:].flatten(2),
        pictures[..., :BORDER].flatten(2), pictures[..., -BORDER:].flatten(2),
    ]  # fmt: skip
    border = torch.cat(edges, dim=2).median(dim=2).values  # N 3
    colours = [list(COLOURS)[k] for k in torch.cdist(border, palette).argmin(dim=1).tolist()]
    hits = torch.tensor(
        [
            (
                want.object == found.object,
                want.arrangement == found.arrangement,
                want.colour == colour,
            )
            for want, found, colour in zip(scenes, nearest, colours, strict=True)
        ]
    )
    return tuple(hits.float().mean(dim=0).tolist())


def sheet(pictures: Tensor, path: Path, columns: int = 8, enlarge: int = 2) -> None:
    """Paste pictures into one file, row by row."""
    side = SIZE * enlarge
    rows = -(-len(pictures) // columns)
    paper = Image.new("RGB", (columns * side, rows * side), "white")
    for number, picture in enumerate(pictures):
        pixels = (picture * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        large = Image.fromarray(pixels).resize((side, side), Image.Resampling.LANCZOS)
        paper.paste(large, (number % columns * side, number // columns * side))
    paper.save(path)


if __name__ == "__main__":
    main()
