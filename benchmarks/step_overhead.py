"""Times one step of every sampler beside diffusers' `scheduler.step`, guidance and noise included.

python -m benchmarks.step_overhead [--device cpu] [--shape 1 4 64 64] [--steps 20]

Prints microseconds per network call: the median of several whole runs, ours and diffusers' in
turn, on one thread, without the network; on a CPU its own time, which other work disturbs less.
Needs the extra `dev`.
"""

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import diffusers
import torch
from torch import Tensor

from nodes.guidance import guidance
from nodes.kinds import State, Step
from nodes.schedule import scheduler_step
from nodes.schedulers import SCHEDULERS, make_table, resolve

STABLE_DIFFUSION = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
    "clip_sample": False, "skip_prk_steps": True, "steps_offset": 1,
}  # fmt: skip
RUNS = 15


def main() -> None:
    """Print a line for every sampler."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--shape", type=int, nargs="+", default=[1, 4, 64, 64])
    parser.add_argument("--steps", type=int, default=20)
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    diffusers.logging.set_verbosity_error()
    cond, uncond = (torch.randn(given.shape, device=given.device) for _ in range(2))
    sys.stdout.write("microseconds per call   ours  diffusers  times\n")
    for name in samplers():
        runs = [prepare(name, given.steps, cond, uncond) for prepare in (ours, theirs)]
        times = [[run() for run in runs] for _ in range(RUNS + 1)][1:]  # the first warms up
        here, there = (statistics.median(each) for each in zip(*times, strict=True))
        sys.stdout.write(f"{name:<20}{here:8.1f}{there:11.1f}{there / here:7.1f}\n")


def samplers() -> Iterator[str]:
    """Yield the first name of every sampler that diffusers has, too."""
    seen: set[tuple[str, str]] = set()
    for name, (family, description, _) in SCHEDULERS.items():
        varied = name == family or name.endswith(("_karras", "_exponential", "_beta", "_exact"))
        if not varied and (family, description) not in seen and family != "DPMSolverSDEScheduler":
            seen.add((family, description))
            yield name


def config_of(name: str) -> dict[str, Any]:
    """Return the noise levels of Stable Diffusion where the sampler has betas."""
    return {} if name.startswith(("flow", "edm", "ipndm")) else STABLE_DIFFUSION


def per_call(loop: Callable[[], int], device: torch.device) -> float:
    """Return microseconds per call of a loop; a CUDA device finishes first."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    started = clock()
    calls = loop()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (clock() - started) / calls * 1e6


def ours(name: str, steps: int, cond: Tensor, uncond: Tensor) -> Callable[[], float]:
    """Return a run of our nodes."""
    table = make_table(config_of(name), name, steps)
    rows, first = table.rows(cond.device), cond * table.initial_scale

    def loop() -> int:
        state = State(first, first.new_zeros(table.memory, *first.shape))
        for row, noisy in zip(rows, table.noisy, strict=True):
            guided = guidance(cond, uncond, 7.5)
            noise = torch.randn_like(first) if noisy else None
            step = Step(row.timestep, row)
            state = scheduler_step(step, state, guided, noise)
        return len(rows)

    return lambda: per_call(loop, cond.device)


def theirs(name: str, steps: int, cond: Tensor, uncond: Tensor) -> Callable[[], float]:
    """Return a run of diffusers' scheduler of the same settings, as its pipelines call it."""
    family, settings = resolve(config_of(name), name)
    scheduler = getattr(diffusers, family).from_config(settings)
    scale = getattr(scheduler, "scale_model_input", lambda sample, _: sample)

    def loop() -> int:
        sample = cond
        for timestep in scheduler.timesteps:
            sample = scale(sample, timestep)
            guided = uncond + 7.5 * (cond - uncond)
            sample = scheduler.step(guided, timestep, sample, return_dict=False)[0]
        return len(scheduler.timesteps)

    def run() -> float:
        scheduler.set_timesteps(steps, device=cond.device)
        return per_call(loop, cond.device)

    return run


if __name__ == "__main__":
    main()
