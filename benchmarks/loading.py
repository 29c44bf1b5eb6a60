"""Loading a full-width Stable Diffusion 1 folder, ours beside the oracle's.

    python benchmarks/loading.py FOLDER [float32 | float16] [--cold]

Writes random weights to FOLDER if it is empty (4.3 GB in float32), then loads it in a process of
its own each time, alternating: the UNet alone, and all parts, as they are and in another
precision. Imports are not counted. Processor seconds are those of all threads until every weight
was touched: they say more than seconds where others use the machine. Memory is what the process
came to hold above its imports; what is mapped from the files counts too. For Linux.

With --cold no weights are in the page cache when a process begins, and what stands beside ours is
ours without reading ahead. The disk's own setting decides: /sys/block/DISK/queue/read_ahead_kb.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

RUNS = 3
CASES = ("unet", "all parts", "all parts, converted")


def write(folder: Path, dtype: str) -> None:
    """Write a checkpoint of random weights as the oracle lays it out."""
    import diffusers
    import torch
    import transformers

    from benchmarks.unet import CONFIG
    from nodes.weights.clip_vocabulary import START, clip_merges, clip_vocabulary

    text = transformers.CLIPTextConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12
    )
    pipeline = diffusers.StableDiffusionPipeline(
        unet=diffusers.UNet2DConditionModel(**CONFIG),
        vae=diffusers.AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
        ),
        text_encoder=transformers.CLIPTextModel(text),
        tokenizer=transformers.CLIPTokenizer(
            clip_vocabulary(), clip_merges(), bos_token=START, model_max_length=77
        ),
        scheduler=diffusers.PNDMScheduler(skip_prk_steps=True),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(getattr(torch, dtype)).save_pretrained(folder)


def load(who: str, case: str, folder: str, stored: str) -> None:
    """Load, touch every weight, and print seconds before and after touching, and memory."""
    import torch

    wanted = torch.bfloat16 if case.endswith("converted") else getattr(torch, stored)
    if who != "diffusers":
        import nodes.load as loading
        from nodes.load import load_scheduler_config, load_unet, load_vae
        from nodes.text import load_text_encoder, load_tokenizer

        device = torch.device("cpu")
        if who == "as it is read":
            loading.read_ahead = lambda _: None
    else:
        import diffusers

        diffusers.utils.logging.disable_progress_bar()
        pipeline_class = diffusers.StableDiffusionPipeline
        unet_class = diffusers.UNet2DConditionModel
    before = _megabytes("VmRSS")
    begin, processor = time.perf_counter(), time.process_time()
    if who != "diffusers":
        networks: list[torch.nn.Module] = [load_unet(folder, device, wanted)]
        if case != "unet":
            networks += [load_vae(folder, device, wanted)]
            networks += [load_text_encoder(folder, device, wanted).clip]
            load_tokenizer(folder)
            load_scheduler_config(folder)
    elif case == "unet":
        networks = [unet_class.from_pretrained(folder, subfolder="unet", torch_dtype=wanted)]
    else:
        pipeline = pipeline_class.from_pretrained(
            folder, torch_dtype=wanted, safety_checker=None, requires_safety_checker=False
        )
        networks = [pipeline.unet, pipeline.vae, pipeline.text_encoder]
    loaded = time.perf_counter() - begin
    modules = [module for network in networks for module in network.modules()]
    weights = [weight for module in modules for weight in module.parameters(recurse=False)]
    weights += [module.weight for module in modules if type(module).__name__.startswith("Packed")]
    for weight in weights:
        weight.view(-1)[:: 4096 // weight.element_size()].sum()  # one number of every page
    touched, processor = time.perf_counter() - begin, time.process_time() - processor
    held = _megabytes("VmHWM") - before
    size = sum(weight.nbytes for weight in weights) / 2**20
    found = {"loaded": loaded, "touched": touched, "processor": processor, "held": held / size}
    print(json.dumps(found))


def _megabytes(name: str) -> float:
    """Read what this process holds (VmRSS) or came to hold (VmHWM)."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(rf"{name}:\s+(\d+)", status)[0]) / 1024


def forget(folder: Path) -> None:
    """Have the system put a checkpoint's files out of the page cache."""
    os.sync()
    for path in folder.rglob("*.safetensors"):
        with path.open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main(folder: Path, dtype: str, cold: bool) -> None:
    """Print a line for each case: ours, what it is compared with, and the ratio of the medians."""
    other = "as it is read" if cold else "diffusers"
    if not (folder / "model_index.json").exists():
        command = [sys.executable, __file__, "--write", str(folder), dtype]
        subprocess.run(command, capture_output=True, check=True)
    print(f"{'median of ' + str(RUNS):46}{'ours':>24}{other:>24}{'ratio':>8}")
    for case in CASES:
        found: dict[str, list[dict[str, float]]] = {"ours": [], other: []}
        for _ in range(RUNS):
            for who, runs in found.items():
                if cold:
                    forget(folder)
                command = [sys.executable, __file__, "--load", who, case, str(folder), dtype]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                runs.append(json.loads(done.stdout.splitlines()[-1]))
        for what in ("loaded", "touched", "processor", "held"):
            ours, theirs = ([run[what] for run in found[who]] for who in ("ours", other))
            unit = "of the weights' size" if what == "held" else "s"
            label = f"{case}: {what}, {unit}"
            ratio = statistics.median(ours) / statistics.median(theirs)
            print(f"{label:46}{spread(ours):>24}{spread(theirs):>24}{ratio:>8.2f}", flush=True)


def spread(values: list[float]) -> str:
    """Write the median, and the least and the most."""
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--load"]:
        load(*sys.argv[2:])
    elif sys.argv[1:2] == ["--write"]:
        write(Path(sys.argv[2]), sys.argv[3])
    elif len(sys.argv) > 1:
        words = [word for word in sys.argv[1:] if word != "--cold"]
        main(Path(words[0]), words[1] if len(words) > 1 else "float32", "--cold" in sys.argv)
    else:
        sys.exit(__doc__)
