"""What compiling brings to Stable Diffusion 1's UNet on this CPU, ours beside diffusers.

    python -m benchmarks.compile [--layers 2] [--size 256] [--threads 1] [--rounds 9] [CASE ...]

Full width, bfloat16, random weights, both halves of guidance in one call; `--layers 1` is a UNet of
half the depth. Every case has two processes, which share a folder of compiled code that is empty at
first. In each it takes turns with our network as it comes, uncompiled, so that cases compare by
their ratios to that. Prints processor seconds of the first two calls, with those of the processes
that compile, one at a time; then the median of a call, by the clock where there are several
threads; the ratios; and the largest difference from the uncompiled call, of its largest value.
Needs the extra `dev` and a C++ compiler.

Cases: ours (`--compile`), diffusers (not compiled), diffusers-compiled (torch.compile's defaults),
diffusers-frozen (with inductor's freezing, which packs weights; no cache keeps its result).
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

CASES = ("ours", "diffusers", "diffusers-compiled", "diffusers-frozen")


def make(case: str, layers: int) -> tuple[Any, Callable[..., Any]]:
    """Give our network as it comes, and that of a case with the same weights."""
    import torch

    from nodes.models import UNet2DConditionModel, pack

    config = {
        "sample_size": 64, "in_channels": 4, "out_channels": 4, "layers_per_block": layers,
        "block_out_channels": (320, 640, 1280, 1280), "attention_head_dim": 8,
        "cross_attention_dim": 768,
        "down_block_types": (*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"),
        "up_block_types": ("UpBlock2D", *["CrossAttnUpBlock2D"] * 3),
    }  # fmt: skip
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    plain = UNet2DConditionModel.from_config(config).eval().requires_grad_(False)
    if case == "ours":
        torch.set_default_dtype(torch.float32)
        return pack(plain), compiled(plain)
    import diffusers

    theirs = diffusers.UNet2DConditionModel(**config).eval().requires_grad_(False)
    theirs.load_state_dict(plain.state_dict())
    torch.set_default_dtype(torch.float32)
    if case != "diffusers":
        theirs = torch.compile(theirs, options={"freezing": case == "diffusers-frozen"})

    def predict(sample: Any, timestep: Any, text: Any) -> Any:
        return theirs(sample, timestep, encoder_hidden_states=text, return_dict=False)[0]

    return pack(plain), predict


def compiled(network: Any) -> Any:
    """Compile as `--compile` does."""
    import torch

    from graph import Call, Place, Reference
    from runtime.compiler import COMPILED, Compiler, why_not_compiled

    if reason := why_not_compiled(torch.device("cpu")):
        sys.exit(f"nothing can be compiled here: {reason}")
    given = {"network": Reference("unet")}
    call = Call("unet", COMPILED, dict(given), None, None, Place("", 0, 0), Any)
    return Compiler(lambda event: print(event, file=sys.stderr))(call)(network)


def processor_time() -> float:
    """Give the processor seconds of this process and of those that it waited for."""
    others = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + others.ru_utime + others.ru_stime


def child(case: str, given: argparse.Namespace) -> None:
    """Call the networks in turn and print what it took."""
    import torch

    torch.set_num_threads(given.threads)
    now = time.process_time if given.threads == 1 else time.perf_counter
    plain, predict = make(case, given.layers)
    side = given.size // 8
    shapes: tuple[tuple[int, ...], ...] = ((2, 4, side, side), (), (2, 77, 768))
    sample, noise_level, text = (torch.randn(shape) for shape in shapes)
    inputs = (sample.bfloat16(), 1000 * noise_level.abs(), text.bfloat16())
    with torch.no_grad():
        plain(*inputs)
        expected, begin, clock = plain(*inputs).float(), processor_time(), time.perf_counter()
        predict(*inputs)
        difference = (predict(*inputs).float() - expected).abs().max() / expected.abs().max()
        first, clock = processor_time() - begin, time.perf_counter() - clock
        times: dict[str, list[float]] = {"plain": [], "case": []}
        for _ in range(given.rounds):
            for name, network in (("plain", plain), ("case", predict)):
                begin = now()
                network(*inputs)
                times[name].append(now() - begin)
    ratios = [one / other for one, other in zip(times["case"], times["plain"], strict=True)]
    found = {
        "first": first, "clock": clock, "call": statistics.median(times["case"]),
        "ratio": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios),
        "difference": difference.item(),
    }  # fmt: skip
    print(json.dumps(found))


def main() -> None:
    """Run the cases and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("cases", nargs="*", default=CASES)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--child")
    given = parser.parse_args()
    if given.child:
        child(given.child, given)
        return
    print(f"{'':<26}first two calls, s  (by the clock)  a call, s  of ours uncompiled  differs by")
    for case in given.cases:
        with tempfile.TemporaryDirectory(prefix="compiled-") as folder:
            for process in ("first", "second")[: 1 if case == "diffusers" else 2]:
                found = run(case, given, folder)
                print(row(f"{case}, {process}", found), flush=True)


def row(name: str, found: dict[str, float]) -> str:
    """Write a row of the table."""
    spread = f"({found['lowest']:.3f} to {found['highest']:.3f})"
    return (
        f"{name:<26}{found['first']:18.1f}{found['clock']:16.1f}{found['call']:11.3f}"
        f"{found['ratio']:20.3f} {spread}{found['difference']:10.4f}"
    )


def run(case: str, given: argparse.Namespace, folder: str) -> dict[str, float]:
    """Run a case in a process of its own, whose compiled code lies in a folder."""
    words = [f"--{name}={getattr(given, name)}" for name in ("layers", "size", "threads", "rounds")]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.compile", f"--child={case}", *words],
        env=os.environ | {"TORCHINDUCTOR_CACHE_DIR": folder, "TORCHINDUCTOR_COMPILE_THREADS": "1"},
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
