"""What tiles cost and bring: memory and time of a full-width decode, ours beside the oracle's.

    python benchmarks/vae_tiling.py [512 1024 2048]
    python benchmarks/vae_tiling.py --differs 2048

Each decode runs in a process of its own; weights are random, in bfloat16, tiles of 512 pixels.
The second line compares the trained autoencoder of emoji-64 in such tiles with the whole.
"""

import resource
import subprocess
import sys
import time
from pathlib import Path

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


def differ(side: int) -> None:
    """Print how far a decode in tiles is from the whole, of 255 levels, for two pictures.

    Of different parts, one picture has few large ones and the other many, evenly mixed.
    """
    import torch
    from torch.nn import functional

    from nodes.image import load_image, vae_decode, vae_encode
    from nodes.load import load_vae

    torch.set_grad_enabled(False)
    vae = load_vae("emoji-64", torch.device("cpu"), torch.float32)
    file = str(Path(__file__).parent.parent / "docs" / "images" / "grid.png")
    part = load_image(file)[..., :256, :256]
    large = functional.interpolate(part, (side, side), mode="bicubic").clamp(0, 1)
    mixed = part.repeat(1, 1, -(-side // 256), -(-side // 256))[..., :side, :side]
    for name, picture in (("large parts", large), ("mixed parts", mixed)):
        latents = vae_encode(vae, picture, torch.device("cpu"), tile=512)
        levels = 255 * (vae_decode(vae, latents, tile=512) - vae_decode(vae, latents))
        mean, most = levels.square().mean().sqrt(), levels.abs().max()
        print(f"{name}: root mean square {mean:.2f}, at most {most:.1f}", flush=True)


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
    elif sys.argv[1:2] == ["--differs"]:
        differ(int(sys.argv[2]))
    else:
        main([int(side) for side in sys.argv[1:]] or [512, 1024, 2048])
