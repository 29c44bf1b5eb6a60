"""What tiles cost and bring: memory and time of a full-width decode, ours beside the oracle's.

    python benchmarks/vae_tiling.py [512 1024 2048]

Each decode runs in a process of its own; weights are random, in bfloat16, tiles of 512 pixels.
"""

import resource
import subprocess
import sys
import time

CONFIG = {
    "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2,
    "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4,
}  # fmt: skip
WAYS = ("ours", "ours in tiles", "diffusers", "diffusers in tiles")


def decode(way: str, side: int) -> None:
    """Decode one picture and print seconds and how much memory it took above the weights."""
    import torch

    torch.set_grad_enabled(False)
    latents = torch.randn(1, 4, side // 8, side // 8, dtype=torch.bfloat16)
    if way.startswith("ours"):
        from nodes.models import AutoencoderKL, pack

        vae = pack(AutoencoderKL.from_config(CONFIG).bfloat16().requires_grad_(False))
        tile = 64 if way.endswith("tiles") else None
        call = lambda: vae.decode(latents, tile)  # noqa: E731
    else:
        import diffusers

        vae = diffusers.AutoencoderKL(**CONFIG, sample_size=512).bfloat16()
        if way.endswith("tiles"):
            vae.enable_tiling()
        call = lambda: vae.decode(latents).sample  # noqa: E731
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.perf_counter()
    call()
    seconds = time.perf_counter() - begin
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"{seconds:.1f} {more / 1024:.0f}")


def main(sides: list[int]) -> None:
    """Print a table of every way at every size."""
    print(f"{'':20}" + "".join(f"{side:>10} px s      MB" for side in sides))
    for way in WAYS:
        cells: list[str] = []
        for side in sides:
            command = [sys.executable, __file__, "--decode", way, str(side)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds, megabytes = done.stdout.split()
            cells.append(f"{seconds:>13}{megabytes:>8}  ")
        print(f"{way:20}" + "".join(cells), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--decode"]:
        decode(sys.argv[2], int(sys.argv[3]))
    else:
        main([int(side) for side in sys.argv[1:]] or [512, 1024, 2048])
