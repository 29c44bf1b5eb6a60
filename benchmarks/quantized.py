"""What weights in eight bits bring and cost: time, memory, and how far off they are.

    python -m benchmarks.quantized [--size 256] [--rounds 3] [--pictures 48]

Calls Stable Diffusion 1's UNet at full width, random weights, in bfloat16 on one thread, the ways
taking turns: median processor seconds of a guided call, their ratio to bfloat16 with its spread,
the bytes of its weights, and the relative error (root mean square) against float32. Then `emoji-64`
draws pictures: how far each way is from float32, root mean square of 255 levels, and how often it
is right (tools/emoji/score.py).
"""

import argparse
import random
import statistics
import sys
import tempfile
import time

import torch
from torch import Tensor

import nodes
from benchmarks.unet import CONFIG, error_of, inputs, random_unet
from graph import load
from nodes.models import pack, with_eight_bits
from nodes.models.packed import Packed
from runtime import Session
from tools.emoji.pictures import SCENES, caption, is_held_out
from tools.emoji.score import score

WAYS = (None, "int8", "float8")  # weights as they are, and in eight bits
BATCH = 16


def main() -> None:
    """Print both tables."""
    assert nodes.__all__  # importing registers the node types
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=48)
    given = parser.parse_args()
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    say("| weights | a call, s | of bfloat16 | weights, GB | relative error |")
    for way, cells in calls(given.size, given.rounds).items():
        say(f"| {way or 'bfloat16'} | {cells} |")
    say("| precision | weights | rms of 255 | object | arrangement | background |")
    for (dtype, way), cells in pictures(given.pictures).items():
        say(f"| {dtype} | {way or dtype} | {cells} |")


def calls(size: int, rounds: int) -> dict[str | None, str]:
    """Call the full-width UNet."""
    plain, exact = random_unet(CONFIG), inputs(size)
    true, plain = plain(*exact), plain.bfloat16()
    networks = {way: with_eight_bits(plain, way) for way in WAYS if way} | {None: pack(plain)}
    sample, noise_level, text = exact[0].bfloat16(), exact[1], exact[2].bfloat16()
    errors: dict[str | None, float] = {}
    seconds: dict[str | None, list[float]] = {way: [] for way in WAYS}
    for turn in range(rounds + 1):
        for way in WAYS:
            begin = time.process_time()
            found = networks[way](sample, noise_level, text)
            if turn:  # the first call packs
                seconds[way].append(time.process_time() - begin)
            errors[way] = error_of(found, true)
    cells: dict[str | None, str] = {}
    for way, taken in seconds.items():
        ratios = [one / other for one, other in zip(taken, seconds[None], strict=True)]
        cells[way] = (
            f"{statistics.median(taken):.2f} | {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}) | {weight_bytes(networks[way]) / 1e9:.2f} | "
            f"{errors[way]:.3f}"
        )
    return cells


def weight_bytes(network: torch.nn.Module) -> int:
    """Count the bytes of all weights, those in oneDNN's layout too."""
    packed = [it.weight.nbytes for it in network.modules() if isinstance(it, Packed)]
    plain = [it.numel() * it.element_size() for it in (*network.parameters(), *network.buffers())]
    return sum(packed) + sum(plain)


def pictures(count: int) -> dict[tuple[str, str | None], str]:
    """Draw with `emoji-64` in both precisions."""
    scenes = [scene for scene in SCENES if is_held_out(scene)]
    random.Random(0).shuffle(scenes)
    drawn: dict[tuple[str, str | None], list[Tensor]] = {
        (dtype, way): [] for dtype in ("float32", "bfloat16") for way in WAYS
    }
    for first in range(0, count, BATCH):
        some = scenes[first : min(first + BATCH, count)]
        for dtype, weights in drawn:
            name = "sd15" if weights is None else "quantized"
            more = {} if weights is None else {"precision": weights}
            with tempfile.TemporaryDirectory() as folder:
                outputs = Session("cpu", dtype)(
                    load(name), model="emoji-64", prompt=[caption(scene) for scene in some],
                    steps=20, guidance_scale=3.0, seed=1000 + first, count=len(some),
                    output=f"{folder}/x.png", **more,
                )  # fmt: skip
            drawn[dtype, weights].append(outputs["image"].float())
    true = torch.cat(drawn["float32", None])
    cells: dict[tuple[str, str | None], str] = {}
    for way, parts in drawn.items():
        whole = torch.cat(parts)
        far = 255 * (whole - true).square().mean().sqrt()
        shares = " | ".join(f"{share:.1%}" for share in score(whole, scenes[:count]))
        cells[way] = f"{far:.1f} | {shares}"
    return cells


def say(line: str) -> None:
    """Print a line."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
