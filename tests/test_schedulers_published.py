"""Published configs, swaps, partial runs and explicit grids beside diffusers'."""

import inspect
from typing import Any

import pytest
import torch

from nodes.schedulers import make_table, step
from tests.schedulers_oracle import (
    SHAPE,
    STABLE_DIFFUSION,
    difference,
    diffusers,
    initial_noise,
    network,
    ours,
    theirs,
)

pytestmark = pytest.mark.filterwarnings("ignore")

SD = {**STABLE_DIFFUSION, "set_alpha_to_one": False, "steps_offset": 1, "clip_sample": False}
PUBLISHED: dict[str, dict[str, Any]] = {
    "google/ddpm-cat-256": {"_class_name": "DDPMScheduler", "variance_type": "fixed_small"},
    "google/ddpm-cifar10-32": {"_class_name": "DDPMScheduler", "variance_type": "fixed_large"},
    "Stable Diffusion 1.5": {"_class_name": "PNDMScheduler", "skip_prk_steps": True, **SD},
    "Stable Diffusion 1.5 inpainting": {"_class_name": "DDIMScheduler", **SD},
    "Stable Diffusion 2.1": {
        "_class_name": "DDIMScheduler",
        "prediction_type": "v_prediction",
        **SD,
    },
    "Stable Diffusion XL": {
        "_class_name": "EulerDiscreteScheduler",
        "timestep_spacing": "leading",
        "interpolation_type": "linear",
        **SD,
    },
    "SDXL-Turbo": {
        "_class_name": "EulerAncestralDiscreteScheduler",
        "timestep_spacing": "trailing",
        **SD,
    },
    "Kolors": {
        "_class_name": "EulerDiscreteScheduler",
        "timestep_spacing": "leading",
        **SD,
        "num_train_timesteps": 1100,
        "beta_end": 0.014,
    },
    "Hunyuan-DiT": {
        "_class_name": "DDPMScheduler",
        "prediction_type": "v_prediction",
        **SD,
        "beta_end": 0.03,
    },
    "LCM": {"_class_name": "LCMScheduler", "original_inference_steps": 50, **SD},
    "Playground 2.5": {"_class_name": "EDMDPMSolverMultistepScheduler"},
    "Stable Diffusion 3": {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configs_agree(name: str) -> None:
    config = PUBLISHED[name]
    expected = theirs(config, 25, initial_noise())
    assert difference(ours(make_table(config, steps=25), initial_noise()), expected) <= 1e-5


@pytest.mark.parametrize(
    "name",
    [
        "DDIMScheduler",
        "UniPCMultistepScheduler",
        "DPMSolverMultistepScheduler",
        "EulerDiscreteScheduler",
        "HeunDiscreteScheduler",
        "DEISMultistepScheduler",
    ],
)
def test_swaps_agree(name: str) -> None:
    """Putting another class on the config of Stable Diffusion resolves as diffusers does it."""
    source = PUBLISHED["Stable Diffusion 1.5"]
    scheduler = getattr(diffusers, name).from_config(source)
    expected = theirs({**scheduler.config, "_class_name": name}, 20, initial_noise())
    found = ours(make_table(source, name, 20), initial_noise())
    assert difference(found, expected) <= 1e-5
    back = diffusers.PNDMScheduler.from_config(scheduler.config)
    again = theirs({**back.config, "_class_name": "PNDMScheduler"}, 20, initial_noise())
    found = ours(make_table(scheduler.config, "PNDMScheduler", 20), initial_noise())
    assert difference(found, again) <= 1e-5


def test_the_learned_variance_agrees() -> None:
    config = {"_class_name": "DDPMScheduler", **STABLE_DIFFUSION, "variance_type": "learned_range"}
    scheduler = diffusers.DDPMScheduler.from_config(config)
    scheduler.set_timesteps(10)
    generators = [torch.Generator().manual_seed(7) for _ in range(2)]
    table = make_table(config, "auto", 10)
    found = expected = initial_noise()
    for row, noisy, timestep in zip(table.rows(), table.noisy, scheduler.timesteps, strict=True):
        fresh = torch.randn(SHAPE, generator=generators[0]) if noisy else None
        prediction = network(found, timestep).repeat(1, 2, 1, 1)
        found, _ = step(row, found, prediction, fresh, ())
        prediction = network(expected, timestep).repeat(1, 2, 1, 1)
        expected = scheduler.step(prediction, timestep, expected, generators[1]).prev_sample
    assert difference(found, expected) <= 1e-5


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("DDPMScheduler", {"timesteps": [950, 600, 300, 20]}),
        ("EulerDiscreteScheduler", {"timesteps": [999, 845, 730, 587, 443, 310, 193, 116, 53, 13]}),
        ("EulerDiscreteScheduler", {"sigmas": [14.6, 6.4, 3.8, 1.4, 0.4, 0.0]}),
        ("HeunDiscreteScheduler", {"timesteps": [999, 600, 300, 20]}),
        ("DPMSolverMultistepScheduler", {"timesteps": [999, 850, 736, 645, 545, 455, 343, 24]}),
        ("DPMSolverSinglestepScheduler", {"timesteps": [999, 850, 736, 645, 545, 24]}),
        ("LCMScheduler", {"timesteps": [999, 699, 499, 239]}),
        ("TCDScheduler", {"timesteps": [999, 699, 499, 239]}),
        ("FlowMatchEulerDiscreteScheduler", {"sigmas": [1.0, 0.75, 0.5, 0.25]}),
    ],
)
def test_explicit_grids_agree(name: str, options: dict[str, Any]) -> None:
    config = {"_class_name": name, **STABLE_DIFFUSION}
    expected = theirs(config, 0, initial_noise(), set=options)
    assert difference(ours(make_table(config, **options), initial_noise()), expected) <= 1e-5


@pytest.mark.parametrize("name", ["EulerDiscreteScheduler", "UniPCMultistepScheduler"])
def test_beta_levels_agree(name: str) -> None:
    pytest.importorskip("scipy", reason="diffusers computes quantiles with scipy")
    config = {"_class_name": name, **STABLE_DIFFUSION, "use_beta_sigmas": True}
    for steps in (4, 10, 25):
        expected = theirs(config, steps, initial_noise())
        assert difference(ours(make_table(config, steps=steps), initial_noise()), expected) <= 1e-5


@pytest.mark.parametrize("kind", ["exponential", "linear"])
def test_dynamic_shifting_agrees(kind: str) -> None:
    config = {
        "_class_name": "FlowMatchEulerDiscreteScheduler",
        "use_dynamic_shifting": True,
        "time_shift_type": kind,
        "shift_terminal": 0.02,
    }
    expected = theirs(config, 8, initial_noise(), set={"num_inference_steps": 8, "mu": 0.9})
    assert difference(ours(make_table(config, steps=8, mu=0.9), initial_noise()), expected) <= 1e-5


@pytest.mark.parametrize(
    "name",
    [
        "DDPMScheduler",
        "DDIMScheduler",
        "EulerDiscreteScheduler",
        "EulerAncestralDiscreteScheduler",
        "HeunDiscreteScheduler",
        "KDPM2DiscreteScheduler",
        "KDPM2AncestralDiscreteScheduler",
        "DPMSolverMultistepScheduler",
        "DPMSolverSinglestepScheduler",
        "PNDMScheduler",
        "DEISMultistepScheduler",
        "UniPCMultistepScheduler",
        "FlowMatchEulerDiscreteScheduler",
    ],
)
def test_partial_runs_agree(name: str) -> None:
    """Start from a noised picture in the middle, as image to image does."""
    config: dict[str, Any] = {"_class_name": name, **STABLE_DIFFUSION}
    if name == "PNDMScheduler":
        config["skip_prk_steps"] = True
    clean, noise = network(initial_noise(), torch.tensor(500)), initial_noise()
    table = make_table(config, "auto", 20, start=7)
    start = float(table.alphas[0]) * clean + float(table.sigmas[0]) * noise
    scheduler = getattr(diffusers, name).from_config(config)
    scheduler.set_timesteps(20)
    first = 7 * scheduler.order
    timesteps = scheduler.timesteps[first:]
    getattr(scheduler, "set_begin_index", lambda _: None)(first)
    noising = getattr(scheduler, "add_noise", None) or scheduler.scale_noise
    order = (
        (clean, timesteps[:1], noise) if name.startswith("Flow") else (clean, noise, timesteps[:1])
    )
    sample = noising(*order)
    options = {}
    if "generator" in inspect.signature(scheduler.step).parameters:
        options["generator"] = torch.Generator().manual_seed(7)
    scale = getattr(scheduler, "scale_model_input", lambda sample, _: sample)
    for timestep in timesteps:
        prediction = network(scale(sample, timestep), timestep)
        sample = scheduler.step(prediction, timestep, sample, **options).prev_sample
    assert difference(ours(table, noise, start), sample) <= 1e-5
