"""Decoding at full width, ours beside diffusers at its defaults (float32): time, and memory.

    python -m benchmarks.vae_tiling [--runs 3] [512 1024 2048]
    python -m benchmarks.vae_tiling --differs 2048

Each decode runs in a process of its own, in turn, on one thread; random weights come from a file in
float32, tiles are of 512 pixels. Prints the median of processor seconds with its spread, the share
of what the machine multiplies matrices at, the most memory above what was held before weights were
loaded, and the ratio of both to diffusers. The second line compares the trained autoencoder of
emoji-64 in such tiles with the whole. For Linux; needs the extra `dev`.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks.sd15_cpu import ceiling, peak_memory

CONFIG = {
    "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2,
    "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4,
}  # fmt: skip
WAYS = {
    "diffusers": ("float32", False), "diffusers in tiles": ("float32", True),
    "diffusers, bfloat16": ("bfloat16", False), "ours, float32": ("float32", False),
    "ours": ("bfloat16", False), "ours in tiles": ("bfloat16", True),
}  # fmt: skip
# A decode of 256 pixels: 0.62 TFLOP (FlopCounterMode); it grows with the pixels, but for attention.
FLOPS_256 = 0.62e12


def write(folder: str) -> None:
    """Write an autoencoder of random weights."""
    import diffusers

    diffusers.AutoencoderKL(**CONFIG, sample_size=512).save_pretrained(f"{folder}/vae")


def decode(way: str, side: int, folder: str) -> None:
    """Decode one picture and print seconds, memory in MB with the weights, and the share."""
    import torch

    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    name, tiled = WAYS[way]
    dtype = getattr(torch, name)
    latents = torch.randn(1, 4, side // 8, side // 8, dtype=dtype)
    if way.startswith("ours"):
        from nodes.load import load_vae

        held = peak_memory()
        vae = load_vae(folder, torch.device("cpu"), dtype)
        call = lambda: vae.decode(latents, 64 if tiled else None)  # noqa: E731
    else:
        import diffusers

        held = peak_memory()
        vae = diffusers.AutoencoderKL.from_pretrained(folder, subfolder="vae", torch_dtype=dtype)
        if tiled:
            vae.enable_tiling()
        call = lambda: vae.decode(latents).sample  # noqa: E731
    Path("/proc/self/clear_refs").write_text("5")  # the most that it held begins anew
    begin = time.process_time()
    call()
    seconds = time.process_time() - begin
    more = 1024 * (peak_memory() - held)
    share = FLOPS_256 * (side / 256) ** 2 / seconds / ceiling(name)
    print(json.dumps({"seconds": seconds, "memory": more, "share": share}))


def differ(side: int) -> None:
    """Print how far a decode in tiles is from the whole, of 255 levels, for two pictures.

    Of different parts, one picture has few large ones and the other many, evenly mixed.
    """
    import torch
    from torch.nn import functional

    from nodes.image import load_image, to_image, vae_encode
    from nodes.load import load_vae
    from nodes.models import AutoencoderKL
    from nodes.models.tiles import in_tiles

    torch.set_grad_enabled(False)
    vae = load_vae("emoji-64", torch.device("cpu"), torch.float32)
    assert isinstance(vae, AutoencoderKL)
    tile = 512 // vae.factor
    file = str(Path(__file__).parent.parent / "docs" / "images" / "grid.png")
    part = load_image(file)[..., :256, :256]
    large = functional.interpolate(part, (side, side), mode="bicubic").clamp(0, 1)
    mixed = part.repeat(1, 1, -(-side // 256), -(-side // 256))[..., :side, :side]
    encode = partial(vae_encode, vae, device=torch.device("cpu"), scaled=False)
    for name, picture in (("large parts", large), ("mixed parts", mixed)):
        own = in_tiles(encode, picture, tile, reads=vae.factor, gives=1)
        own = own if vae.post_quant_conv is None else vae.post_quant_conv(own)
        x = vae.decoder.begin(own)  # looks at the whole in both cases, and takes longest
        whole = to_image(vae.decoder.ascend(x))
        tiled = to_image(in_tiles(vae.decoder.ascend, x, tile, reads=1, gives=vae.factor))
        levels = 255 * (tiled - whole)
        mean, most = levels.square().mean().sqrt(), levels.abs().max()
        print(f"{name}: root mean square {mean:.2f}, at most {most:.1f}", flush=True)


def main() -> None:
    """Print a table of every way at every size."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("sides", nargs="*", type=int, default=[512, 1024, 2048])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--decode", choices=WAYS)
    parser.add_argument("--folder")
    parser.add_argument("--differs", type=int, metavar="SIDE")
    given = parser.parse_args()
    if given.decode:
        decode(given.decode, given.sides[0], given.folder)
    elif given.differs:
        differ(given.differs)
    else:
        with tempfile.TemporaryDirectory(prefix="decode-") as folder:
            write(folder)
            compare(given.sides, given.runs, folder)


def compare(sides: list[int], count: int, folder: str) -> None:
    """Decode in every way at every size, in turn."""
    for side in sides:
        runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for _ in range(count):
            for way, found in runs.items():
                words = ["benchmarks.vae_tiling", f"--folder={folder}", "--decode", way, str(side)]
                done = subprocess.run(
                    [sys.executable, "-m", *words], capture_output=True, text=True, check=True
                )
                found.append(json.loads(done.stdout.splitlines()[-1]))
        report(side, runs)


def report(side: int, runs: dict[str, list[dict[str, float]]]) -> None:
    """Print the lines of a size."""
    print(f"\n{side} px{'s':>24}{'(spread)':>18}{'ratio':>8}{'share':>8}{'MB':>9}{'ratio':>8}")
    base: dict[str, float] = {}
    for way, found in runs.items():
        middle = {
            figure: statistics.median(run[figure] for run in found)
            for figure in ("seconds", "memory", "share")
        }
        base = base or middle
        seconds = [run["seconds"] for run in found]
        spread = f"({min(seconds):.2f} to {max(seconds):.2f})"
        print(f"{way:<22}{middle['seconds']:>8.2f}{spread:>18}"
              f"{middle['seconds'] / base['seconds']:>8.2f}{middle['share']:>8.0%}"
              f"{middle['memory']:>9.0f}{middle['memory'] / base['memory']:>8.2f}",
              flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
