"""Measures what DeepCache saves and what it costs, on held-out prompts of `emoji-64`.

python -m benchmarks.step_cache [--pictures 100] [--scheduler ddim] [--steps 20]

Prints, for every interval, the time of the loop over that without caching, how far the pictures
are from those without (root mean square, of 255 levels), and the shares of tools/emoji/score.py.
Needs the font of the model card.
"""

import argparse
import random
import sys
import tempfile
from collections import defaultdict

import torch
from torch import Tensor

import nodes
from graph import load
from runtime import Session
from runtime.events import Event, LoopFinished
from tools.emoji.pictures import SCENES, Scene, caption, is_held_out
from tools.emoji.score import score

EVERY = (1, 2, 3, 5, 10)
BATCH = 20


def main() -> None:
    """Print a row for every interval."""
    assert nodes.__all__  # importing registers the node types
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--scheduler", default="ddim")
    parser.add_argument("--steps", type=int, default=20)
    given = parser.parse_args()
    scenes = [scene for scene in SCENES if is_held_out(scene)]
    random.Random(0).shuffle(scenes)
    scenes = scenes[: given.pictures]
    seconds: defaultdict[int, float] = defaultdict(float)
    pictures: defaultdict[int, list[Tensor]] = defaultdict(list)
    for first in range(0, len(scenes), BATCH):
        for every in EVERY:  # in turn, so that what else the machine does weighs on all alike
            found, took = draw(scenes[first : first + BATCH], first, every, given)
            pictures[every].append(found)
            seconds[every] += took
    sys.stdout.write("| every | time | rms | object | arrangement | background |\n")
    sys.stdout.write("| --- | --- | --- | --- | --- | --- |\n")
    whole = torch.cat(pictures[1])
    for every in EVERY:
        drawn = torch.cat(pictures[every])
        far = 255 * (drawn - whole).square().mean().sqrt()
        shares = " | ".join(f"{share:.1%}" for share in score(drawn, scenes))
        ratio = seconds[every] / seconds[1]
        sys.stdout.write(f"| {every} | {ratio:.2f} | {far:.1f} | {shares} |\n")


def draw(
    scenes: list[Scene], seed: int, every: int, given: argparse.Namespace
) -> tuple[Tensor, float]:
    """Draw scenes; gives the pictures and the seconds of the loop."""
    took = 0.0

    def listen(event: Event) -> None:
        nonlocal took
        if isinstance(event, LoopFinished):
            took += event.seconds

    session = Session("cpu", "float32", listen)
    with tempfile.TemporaryDirectory() as folder:
        outputs = session(
            load("deep-cache"), model="emoji-64", prompt=[caption(scene) for scene in scenes],
            scheduler=given.scheduler, steps=given.steps, guidance_scale=3.0, seed=1000 + seed,
            count=len(scenes), every=every, output=f"{folder}/picture.png",
        )  # fmt: skip
    return outputs["image"], took


if __name__ == "__main__":
    main()
