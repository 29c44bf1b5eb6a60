"""Our sampling loop and diffusers', with the same smooth stand-in for the network."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from nodes.schedulers import Table, step

diffusers = pytest.importorskip("diffusers")
diffusers.logging.set_verbosity_error()
torch.set_num_threads(1)

SHAPE = (2, 3, 4, 4)
MIX = torch.randn(3, 3, generator=torch.Generator().manual_seed(1)) / 2
STABLE_DIFFUSION = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
# Here float32 coefficients cancel in diffusers; with its levels in float64 it agrees.
CANCELLING = (
    ("DEISMultistepScheduler", {"solver_order": 3}),
    ("DEISMultistepScheduler", {"use_flow_sigmas": True}),
    ("SASolverScheduler", {"predictor_order": 4}),
)


def network(sample: Tensor, timestep: Tensor) -> Tensor:
    """Predict something smooth in both arguments, and bounded."""
    mixed = torch.einsum("dc,bchw->bdhw", MIX, sample.float())
    return torch.tanh(mixed + torch.sin(timestep.float() / 300))


def ours(table: Table, noise: Tensor, sample: Tensor | None = None) -> Tensor:
    """Run our table with the stand-in network."""
    generator = torch.Generator().manual_seed(7)
    sample = table.initial_scale * noise if sample is None else sample
    memory = torch.zeros(table.memory, *noise.shape).unbind()
    for row, noisy in zip(table.rows(), table.noisy, strict=True):
        fresh = torch.randn(SHAPE, generator=generator) if noisy else None
        prediction = network(sample, row.timestep)
        sample, memory = step(row, sample, prediction, fresh, memory)
    return sample


def theirs(config: dict[str, Any], steps: int, noise: Tensor, **options: Any) -> Tensor:
    """Run diffusers' scheduler with the stand-in network; `set` goes to set_timesteps."""
    name = config["_class_name"]
    scheduler = getattr(diffusers, name).from_config(config)
    scheduler.set_timesteps(**options.pop("set", {"num_inference_steps": steps}))
    if any(name == case and fields.items() <= config.items() for case, fields in CANCELLING):
        scheduler.sigmas = scheduler.sigmas.double()
    # Without it two equal timesteps make diffusers start at the second.
    getattr(scheduler, "set_begin_index", lambda _: None)(0)
    if name == "DPMSolverSDEScheduler":
        scheduler.noise_sampler = brownian_motion()
    if "generator" in inspect.signature(scheduler.step).parameters:
        options["generator"] = torch.Generator().manual_seed(7)
    sample = noise * getattr(scheduler, "init_noise_sigma", 1.0)
    scale = getattr(scheduler, "scale_model_input", lambda sample, _: sample)
    for timestep in scheduler.timesteps:
        prediction = network(scale(sample, timestep), timestep)
        sample = scheduler.step(prediction, timestep, sample, **options).prev_sample
    return sample.float()


def brownian_motion() -> Callable[[Tensor, Tensor], Tensor]:
    """Return increments over (start, middle), (start, end) of one motion, drawn as ours are."""
    generator = torch.Generator().manual_seed(7)
    first: list[tuple[Tensor, Tensor, Tensor]] = []

    def increment(start: Tensor, end: Tensor) -> Tensor:
        fresh = torch.randn(SHAPE, generator=generator)
        if not first:
            first.append((start, end, fresh))
            return fresh
        start, middle, earlier = first.pop()
        share = (start - middle) / (start - end)
        return share.sqrt() * earlier + (1 - share).sqrt() * fresh

    return increment


def difference(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference, relative to the largest value."""
    return ((found - expected).abs().max() / expected.abs().max()).item()


def initial_noise() -> Tensor:
    """Return the same start for both sides."""
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(3))
