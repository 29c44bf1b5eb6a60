"""Draws one picture with a full-width Stable Diffusion 1, ours beside diffusers, on this CPU.

    python -m benchmarks.sd15_cpu FOLDER [--size 256] [--steps 3] [--rounds 3] [CASE ...]

Writes random weights to FOLDER if it is empty (4.3 GB in float32). Every run is a process of its
own that begins cold, with files in the page cache; the cases take turns. Prints medians, and each
beside diffusers at its defaults: processor seconds, which other work on the machine disturbs less
than seconds by the clock, and memory. Needs the extra `dev`.

Cases: ours (as it comes), ours-float32, ours-PASS (without a pass of the plan), diffusers (its
defaults, float32), diffusers-bfloat16 (its fastest on a CPU; channels-last is slower there).
"""

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.loading import write

PROMPT = "a lighthouse in a storm"
CASES = ("ours", "ours-float32", "diffusers", "diffusers-bfloat16")
FIGURES = {
    "whole": "cold process to picture, s", "step": "a step after the first, s",
    "first step": "the first step, s", "decode": "decoding, s",
    "clock": "cold process to picture by the clock, s", "memory": "peak memory, GB",
}  # fmt: skip
began = time.perf_counter()


class Watch:
    """Takes the processor time between steps, and of the decode."""

    def __init__(self) -> None:
        self.last = time.process_time()
        self.steps: list[float] = []
        self.decode = 0.0

    def begin(self, *_: Any) -> None:
        """Begin to count."""
        self.last = time.process_time()

    def step(self, *_: Any) -> dict[str, Any]:
        """Take a step's time."""
        now = time.process_time()
        self.steps.append(now - self.last)
        self.last = now
        return {}


def ours(folder: str, size: int, steps: int, dtype: str, without: str, output: str) -> Watch:
    """Draw with the shipped graph; garbage is collected as in the command."""
    gc.disable()
    import nodes  # noqa: F401
    from graph import load
    from runtime import LoopStarted, NodeFinished, NodeStarted, Session, StepFinished
    from runtime.plan import PASSES

    watch = Watch()

    def listen(event: Any) -> None:
        match event:
            case LoopStarted():
                watch.begin()
            case StepFinished():
                watch.step()
            case NodeStarted() if event.call.node.name == "vae_decode":
                watch.begin()
            case NodeFinished() if event.call.node.name == "vae_decode":
                watch.decode = time.process_time() - watch.last
            case _:
                pass

    passes = [name for name in PASSES if name != without]
    session, graph = Session("cpu", dtype, listen, passes, cache=None), load("sd15")
    gc.freeze()
    gc.enable()
    session(
        graph, model=folder, prompt=PROMPT, width=size, height=size, steps=steps,
        scheduler="euler", output=output,
    )  # fmt: skip
    return watch


def theirs(folder: str, size: int, steps: int, dtype: str, output: str) -> Watch:
    """Draw with diffusers' pipeline."""
    import torch
    from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=getattr(torch, dtype))
    pipeline.scheduler = EulerDiscreteScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    watch, decode, predict = Watch(), pipeline.vae.decode, pipeline.unet.forward

    def timed_decode(*given: Any, **options: Any) -> Any:
        watch.begin()
        value = decode(*given, **options)
        watch.decode = time.process_time() - watch.last
        return value

    def timed_predict(*given: Any, **options: Any) -> Any:
        if not watch.steps:
            watch.begin()
        return predict(*given, **options)

    pipeline.vae.decode, pipeline.unet.forward = timed_decode, timed_predict
    image = pipeline(
        PROMPT, width=size, height=size, num_inference_steps=steps, guidance_scale=7.5,
        callback_on_step_end=watch.step,
    ).images[0]  # fmt: skip
    image.save(output)
    return watch


def ceiling(dtype: str) -> float:
    """Measure what matrix multiplication reaches on one thread: FLOP a second of processor time."""
    import torch

    side = 2048
    one, other = (torch.randn(side, side, dtype=getattr(torch, dtype)) for _ in range(2))
    times: list[float] = []
    for _ in range(5):
        begin = time.process_time()
        one @ other
        times.append(time.process_time() - begin)
    return 2 * side**3 / min(times)


def peak_memory() -> float:
    """Read the most that this process held, in GB; `getrusage` also counts who started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**20


def child(case: str, folder: str, size: int, steps: int) -> None:
    """Draw once and print what it took."""
    name, _, detail = case.partition("-")
    output = str(Path(folder) / f"{case}.png")
    if name == "ours":
        dtype = detail if detail == "float32" else "auto"
        watch = ours(folder, size, steps, dtype, detail, output)
    else:
        watch = theirs(folder, size, steps, detail or "float32", output)
    figures = {
        "whole": time.process_time(), "first step": watch.steps[0],
        "step": statistics.median(watch.steps[1:]), "decode": watch.decode,
        "clock": time.perf_counter() - began,
        "memory": peak_memory(),
    }  # fmt: skip
    figures["ceiling"] = ceiling(
        "float32" if "float32" in case or case == "diffusers" else "bfloat16"
    )
    print(json.dumps(figures))


def main() -> None:
    """Let the cases take turns and print their medians."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("cases", nargs="*", default=CASES)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child")
    given = parser.parse_intermixed_args()
    if given.child:
        child(given.child, given.folder, given.size, given.steps)
        return
    folder = Path(given.folder)
    if not (folder / "model_index.json").exists():
        write(folder, "float32")
    runs: dict[str, list[dict[str, float]]] = {case: [] for case in given.cases}
    for _ in range(given.rounds):
        for case in given.cases:
            words = [
                given.folder,
                "--child",
                case,
                "--size",
                str(given.size),
                "--steps",
                str(given.steps),
            ]
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.sd15_cpu", *words],
                env=os.environ | {"HF_HUB_OFFLINE": "1"},
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            runs[case].append(json.loads(done.stdout.splitlines()[-1]))
            print(case, runs[case][-1], file=sys.stderr, flush=True)
    report(runs, given.size)


def report(runs: dict[str, list[dict[str, float]]], size: int) -> None:
    """Print a table for every figure: the median, its spread, and the ratio to diffusers."""
    for figure, words in FIGURES.items():
        print(f"\n{words}")
        base = runs.get("diffusers")
        for case, found in runs.items():
            values = [run[figure] for run in found]
            median = statistics.median(values)
            line = f"  {case:<20}{median:9.2f}  ({min(values):.2f} to {max(values):.2f})"
            if base:
                line += f"{median / statistics.median(run[figure] for run in base):8.2f}"
            print(line)
    from benchmarks.unet import CONFIG, operations

    print("\nshare of the ceiling of matrix multiplication, in the UNet")
    flops = operations(CONFIG, size)
    for case, found in runs.items():
        shares = [flops / run["step"] / run["ceiling"] for run in found]
        print(f"  {case:<20}{statistics.median(shares):9.0%}")


if __name__ == "__main__":
    main()
