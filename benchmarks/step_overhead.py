"""Times a step of a whole run, but for the network, for every sampler beside diffusers' pipeline.

    python -m benchmarks.step_overhead [--size 64] [--runs 7] [SAMPLER ...]

The network does nothing. What is left is engine, guidance, sampler with its noise, and progress
bar: microseconds of processor time from one call of the network to the next, on one thread,
medians of runs in turn, in runs of 10, 50 and 999 steps. `alone` is the sampler without the others,
as a loop of nothing else calls it. Needs the extra `dev`.
"""

import argparse
import io
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import diffusers
import torch
from torch import Tensor

from graph import load_text, node
from nodes.kinds import Latents, Prediction, SchedulerConfig, TextEmbedding, Timestep
from nodes.schedulers import SCHEDULERS, make_table, resolve, step
from runtime import Session
from runtime.progress import Progress

TARGET = 40
STABLE_DIFFUSION = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
    "clip_sample": False, "skip_prk_steps": True, "steps_offset": 1,
    "original_inference_steps": 999,  # the most steps of LCM and TCD
}  # fmt: skip
GRAPH = """
inputs: {name: , scheduler: , steps: , size: }
nodes:
  text:     {node: some_text, value: 0}
  no_text:  {node: some_text, value: 1}
  config:   {node: config_of, name: $name}
  schedule: {node: schedule, config: $config, scheduler: $scheduler, steps: $steps}
  sample:   {node: zeros, size: $size}
  noise:    {node: noise_like, schedule: $schedule, latents: $sample}
  start:    {node: start, schedule: $schedule, noise: $noise.initial}
  denoise:
    for:   {step: $schedule, fresh: $noise.fresh}
    carry: {state: {from: $start, then: $next}}
    nodes:
      cond:   {node: no_network, sample: $state.sample, timestep: $step.timestep, text: $text}
      uncond: {node: no_network, sample: $state.sample, timestep: $step.timestep, text: $no_text}
      guided: {node: guidance, cond: $cond, uncond: $uncond, scale: 7.5}
      next:   {node: scheduler_step, step: $step, state: $state, prediction: $guided, noise: $fresh}
outputs: {sample: $denoise.state.sample}
"""


class Watch:
    """Says when a network was called first and last: to read the clock takes 1.5 microseconds."""

    def __init__(self) -> None:
        self.calls = self.last = 0
        self.times: list[float] = []

    def __call__(self) -> None:
        """Take notice of a call."""
        self.calls += 1
        if self.calls in (1, self.last):
            self.times.append(time.process_time())

    def between(self, run: Callable[[], object]) -> Callable[[], float]:
        """Make a run give microseconds from a call to the next; its first run counts the calls."""
        run_calls = 0

        def timed() -> float:
            nonlocal run_calls
            self.calls, self.last, self.times = 0, run_calls, []
            run()
            run_calls = self.calls
            return (self.times[-1] - self.times[0]) / max(run_calls - 1, 1) * 1e6

        return timed


watch = Watch()


@node(batched=True)
def no_network(sample: Latents, timestep: Timestep, text: TextEmbedding) -> Prediction:  # noqa: ARG001
    """Predict the sample itself, for each of the texts."""
    watch()
    return sample.expand(len(text), -1, -1, -1)


@node
def some_text(value: float) -> TextEmbedding:
    """Give a text of one word."""
    return torch.full((1, 1, 1), value)


@node
def zeros(size: int) -> Latents:
    """Give latents of a picture of this size."""
    return torch.zeros(1, 4, size // 8, size // 8)


@node
def config_of(name: str) -> SchedulerConfig:
    """Give the noise levels of Stable Diffusion where the sampler has betas."""
    betas = not name.startswith(("flow", "edm", "ipndm"))
    return SchedulerConfig(STABLE_DIFFUSION if betas else {})


class Terminal(io.StringIO):
    """Takes what a terminal would be written."""

    def isatty(self) -> bool:
        """Say that it is one."""
        return True


def samplers() -> Iterator[str]:
    """Yield the first name of every sampler that diffusers has, too."""
    seen: set[tuple[str, str]] = set()
    for name, (family, description, _) in SCHEDULERS.items():
        varied = name == family or name.endswith(("_karras", "_exponential", "_beta", "_exact"))
        if not varied and (family, description) not in seen and family != "DPMSolverSDEScheduler":
            seen.add((family, description))
            yield name


def ours(name: str, size: int, steps: int) -> Callable[[], float]:
    """Return a run of our nodes, with a progress bar."""
    graph = load_text(GRAPH, "nothing")
    session = Session("cpu", "float32", Progress(Terminal()), cache=None)
    given = {"name": name, "scheduler": name, "steps": steps, "size": size}
    return watch.between(lambda: session(graph, **given))


def alone(name: str, size: int, steps: int) -> Callable[[], float]:
    """Return a run of our sampler, called by a loop of nothing else."""
    table = make_table(config_of(name).values, name, steps)
    sample = torch.randn(1, 4, size // 8, size // 8)
    rows, noise = table.rows(), sample if any(table.noisy) else None

    def run() -> float:
        state = sample, sample.new_zeros(table.memory, *sample.shape).unbind()
        begin = time.process_time()
        for row in rows:
            state = step(row, state[0], sample, noise, state[1])
        return (time.process_time() - begin) / len(rows) * 1e6

    return run


class NoUNet(diffusers.UNet2DConditionModel):
    """A network that predicts the sample itself."""

    def forward(self, sample: Tensor, *_: Any, **__: Any) -> tuple[Tensor]:
        """Predict."""
        watch()
        return (sample,)


def theirs(name: str, size: int, steps: int) -> Callable[[], float]:
    """Return a run of diffusers' Stable Diffusion with a scheduler of the same settings."""
    family, settings = resolve(config_of(name).values, name)
    scheduler = getattr(diffusers, family).from_config(settings)
    if not hasattr(scheduler, "scale_model_input"):  # flow matching, which has other pipelines
        scheduler.scale_model_input = lambda sample, _: sample
        scheduler.init_noise_sigma = 1.0
    small: dict[str, Any] = {"block_out_channels": (32,), "norm_num_groups": 8}
    unet = NoUNet(
        down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",), mid_block_type=None,
        cross_attention_dim=1, sample_size=8, **small,
    )  # fmt: skip
    pipeline = diffusers.StableDiffusionPipeline(
        vae=diffusers.AutoencoderKL(**small), text_encoder=None, tokenizer=None, unet=unet,
        scheduler=scheduler, safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip
    pipeline.set_progress_bar_config(file=Terminal())
    text, latents = torch.zeros(1, 1, 1), torch.randn(1, 4, size // 8, size // 8)
    given: dict[str, Any] = {
        "prompt_embeds": text, "negative_prompt_embeds": text, "latents": latents,
        "num_inference_steps": steps, "output_type": "latent",
    }  # fmt: skip
    return watch.between(lambda: pipeline(**given))


def main() -> None:
    """Print a line for every sampler."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("samplers", nargs="*", default=[*samplers()])
    parser.add_argument("--size", type=int, default=64, help="of the picture, in pixels")
    parser.add_argument("--runs", type=int, default=7)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    warnings.simplefilter("ignore")
    diffusers.logging.set_verbosity_error()
    print(f"microseconds a call{'alone':>8}{'10 steps':>10}{'999 steps':>11}{'50 steps':>10}"
          f"{'(spread)':>16}{'diffusers':>11}{'times':>7}  at most {TARGET}")  # fmt: skip
    for name in given.samplers:
        sides = [(alone, 50), (ours, 10), (ours, 999), (ours, 50), (theirs, 50)]
        runs = [prepare(name, given.size, steps) for prepare, steps in sides]
        times = [[run() for run in runs] for _ in range(given.runs + 1)][1:]  # the first warms up
        own, short, long, whole, other = map(statistics.median, zip(*times, strict=True))
        spread = f"({min(each[3] for each in times):.1f} to {max(each[3] for each in times):.1f})"
        print(f"{name:<19}{own:8.1f}{short:10.1f}{long:11.1f}{whole:10.1f}{spread:>16}"
              f"{other:11.1f}{other / whole:7.1f}  {'yes' if whole <= TARGET else 'NO'}",
              flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
