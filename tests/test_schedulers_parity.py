"""Whole sampling loops beside diffusers', with a smooth stand-in for the network."""

import importlib.util
import inspect
import warnings
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from nodes.schedulers import Table, make_table, step

diffusers = pytest.importorskip("diffusers")
torch.set_num_threads(1)

SHAPE = (2, 3, 4, 4)
MIX = torch.randn(3, 3, generator=torch.Generator().manual_seed(1)) / 2
STEPS = (4, 10, 25)
STABLE_DIFFUSION = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}

Choice = dict[str, list[Any]]

BOTH = [True, False]
GRID: Choice = {
    "timestep_spacing": ["linspace", "leading", "trailing"],
    "steps_offset": [0, 1],
}
TYPES: Choice = {"prediction_type": ["epsilon", "sample", "v_prediction"]}
TWO_TYPES: Choice = {"prediction_type": ["epsilon", "v_prediction"]}
ENDS: Choice = {"final_sigmas_type": ["zero", "sigma_min"]}
RESPACED: list[Choice] = [
    {"use_karras_sigmas": [True], **GRID, **TWO_TYPES},
    {"use_exponential_sigmas": [True], **GRID, **TWO_TYPES},
]
BETAS: Choice = {"beta_schedule": ["squaredcos_cap_v2", "linear"]}
NO_CLIP: Choice = {"clip_sample": [False]}
CLIPPED: Choice = {"clip_sample": [True], "clip_sample_range": [1.0, 0.5], **TYPES}
THRESHOLDED: Choice = {"thresholding": [True], "sample_max_value": [1.0, 1.5], **TWO_TYPES}
FLOW: Choice = {
    "use_flow_sigmas": [True],
    "flow_shift": [1.0, 3.0],
    "prediction_type": ["flow_prediction"],
}
ORDERS: Choice = {"solver_order": [1, 2, 3], "solver_type": ["midpoint", "heun"]}
LOWERED: Choice = {"lower_order_final": BOTH}
NOISE_FORM: Choice = {"algorithm_type": ["dpmsolver"], "final_sigmas_type": ["sigma_min"]}
SDE: Choice = {"algorithm_type": ["sde-dpmsolver++"]}
ZERO_SNR: Choice = {
    "rescale_betas_zero_snr": [True],
    "prediction_type": ["v_prediction"],
    "timestep_spacing": ["trailing"],
}
SHIFT: Choice = {"shift": [1.0, 3.0]}

# Every class, and the combinations of fields to run it with; each at 4, 10 and 25 steps.
CASES: dict[str, list[Choice]] = {
    "DDPMScheduler": [
        NO_CLIP | GRID | TYPES,
        NO_CLIP | BETAS | {"variance_type": ["fixed_small", "fixed_large", "fixed_small_log"]},
        {"beta_schedule": ["sigmoid"]},
        NO_CLIP | ZERO_SNR | {"prediction_type": ["sample", "v_prediction"]},
        CLIPPED,
        THRESHOLDED,
    ],
    "DDIMScheduler": [
        NO_CLIP | GRID | TYPES | {"set_alpha_to_one": BOTH, "eta": [0.0, 0.5, 1.0]},
        NO_CLIP | BETAS,
        NO_CLIP | ZERO_SNR,
        CLIPPED | {"eta": [0.0, 1.0]},
        THRESHOLDED | {"eta": [0.0, 1.0]},
    ],
    "DDIMInverseScheduler": [
        NO_CLIP | GRID | {"timestep_spacing": ["leading", "trailing"]} | TWO_TYPES,
        CLIPPED | TWO_TYPES,
    ],
    "PNDMScheduler": [GRID | TWO_TYPES | {"skip_prk_steps": BOTH, "set_alpha_to_one": BOTH}],
    "IPNDMScheduler": [{}],
    "EulerDiscreteScheduler": [GRID | TYPES | ENDS, *RESPACED, BETAS, ZERO_SNR],
    "EulerAncestralDiscreteScheduler": [GRID | TWO_TYPES, BETAS, ZERO_SNR],
    "LMSDiscreteScheduler": [GRID | TYPES, *RESPACED],
    "HeunDiscreteScheduler": [
        GRID | TYPES,
        *RESPACED,
        CLIPPED,
        {"beta_schedule": ["squaredcos_cap_v2", "exp"]},
    ],
    "KDPM2DiscreteScheduler": [GRID | TWO_TYPES, *RESPACED],
    "KDPM2AncestralDiscreteScheduler": [GRID | TWO_TYPES, *RESPACED],
    "DPMSolverSDEScheduler": [GRID | TWO_TYPES, *RESPACED],
    "DPMSolverMultistepScheduler": [
        GRID | TYPES | ENDS | {"solver_type": ["midpoint", "heun"]},
        GRID | TWO_TYPES | LOWERED | {"solver_order": [1, 3]},
        TYPES | {"euler_at_final": [True], "use_lu_lambdas": BOTH},
        NOISE_FORM | TYPES | ORDERS,
        SDE | ORDERS | {"solver_order": [1, 2]} | GRID | TWO_TYPES,
        FLOW | ENDS,
        {"lambda_min_clipped": [-5.1], "beta_schedule": ["squaredcos_cap_v2"], **GRID},
        *RESPACED,
        BETAS | {"use_karras_sigmas": BOTH},
        ZERO_SNR,
        THRESHOLDED,
    ],
    "DPMSolverSinglestepScheduler": [
        ORDERS | LOWERED | TWO_TYPES | ENDS,
        ORDERS | {"use_karras_sigmas": [True]},
        ORDERS | {"use_exponential_sigmas": [True]},
        NOISE_FORM | ORDERS | LOWERED,
        SDE | ORDERS | ENDS | {"solver_type": ["midpoint"]},
        SDE | ORDERS | ENDS | {"solver_order": [1, 2]},
        FLOW | ENDS,
        THRESHOLDED,
    ],
    "DEISMultistepScheduler": [
        GRID | TYPES,
        TYPES | LOWERED | {"solver_order": [1, 2, 3]},
        FLOW,
        *RESPACED,
        THRESHOLDED,
    ],
    "UniPCMultistepScheduler": [
        GRID | TYPES | ENDS,
        TWO_TYPES
        | {"solver_order": [1, 2, 3], "solver_type": ["bh1", "bh2"]}
        | {"final_sigmas_type": ["sigma_min"]},
        GRID | {"solver_order": [1, 3]},
        TWO_TYPES | {"disable_corrector": [[0], [0, 1, 5]]},
        {"predict_x0": [False], "final_sigmas_type": ["sigma_min"], "solver_order": [2, 3]},
        FLOW | ENDS,
        FLOW | {"shift_terminal": [0.1]},
        *RESPACED,
        BETAS,
        ZERO_SNR,
        THRESHOLDED,
    ],
    "LCMScheduler": [
        TYPES,
        CLIPPED,
        THRESHOLDED,
        ZERO_SNR,
        {"original_inference_steps": [25, 100], "timestep_scaling": [1.0, 10.0]},
    ],
    "TCDScheduler": [TYPES | {"eta": [0.0, 0.3, 1.0]}, CLIPPED | {"eta": [0.3]}, ZERO_SNR],
    "EDMEulerScheduler": [TWO_TYPES | ENDS | {"sigma_schedule": ["karras", "exponential"]}],
    "EDMDPMSolverMultistepScheduler": [
        TWO_TYPES | ENDS | ORDERS | {"sigma_schedule": ["karras", "exponential"]},
        SDE | ORDERS | {"solver_order": [1, 2]},
        {"euler_at_final": [True]},
        THRESHOLDED,
    ],
    "FlowMatchEulerDiscreteScheduler": [
        SHIFT | {"shift_terminal": [None, 0.1]},
        SHIFT | {"use_karras_sigmas": [True]},
        SHIFT | {"use_exponential_sigmas": [True]},
        {"invert_sigmas": [True], "stochastic_sampling": [False]},
        {"stochastic_sampling": [True]},
    ],
    "FlowMatchHeunDiscreteScheduler": [SHIFT],
}
NEEDS = {"LMSDiscreteScheduler": "scipy", "DPMSolverSDEScheduler": "torchsde"}
# Here float32 coefficients cancel in diffusers; with its levels in float64 it agrees.
CANCELLING = (
    ("DEISMultistepScheduler", {"solver_order": 3}),
    ("DEISMultistepScheduler", {"use_flow_sigmas": True}),
    ("UniPCMultistepScheduler", {"use_flow_sigmas": True, "shift_terminal": 0.1}),
)


def network(sample: Tensor, timestep: Tensor) -> Tensor:
    """Predict something smooth in both arguments, and bounded."""
    mixed = torch.einsum("dc,bchw->bdhw", MIX, sample.float())
    return torch.tanh(mixed + torch.sin(timestep.float() / 300))


def ours(table: Table, noise: Tensor, sample: Tensor | None = None) -> Tensor:
    """Run our table with the stand-in network."""
    generator = torch.Generator().manual_seed(7)
    sample = table.initial_scale * noise if sample is None else sample
    memory = torch.zeros(table.memory, *noise.shape)
    for row, noisy in zip(table.rows(), table.noisy, strict=True):
        fresh = torch.randn(SHAPE, generator=generator) if noisy else None
        prediction = network(sample, row.timestep)
        sample, memory = step(row, sample, prediction, fresh, memory, table.clipping)
    return sample


def theirs(config: dict[str, Any], steps: int, noise: Tensor, **options: Any) -> Tensor:
    """Run diffusers' scheduler with the stand-in network; `set` goes to set_timesteps."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
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


def combinations(name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number of steps and the fields of every case of a class."""
    for choice in CASES[name]:
        for steps, *values in product(STEPS, *choice.values()):
            yield steps, dict(zip(choice, values, strict=True))


@pytest.mark.parametrize("name", CASES)
def test_loops_agree(name: str, record_property: Callable[[str, object], None]) -> None:
    if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
        pytest.skip(f"diffusers' {name} needs {NEEDS[name]}")
    differences: list[tuple[float, object]] = []
    for steps, fields in combinations(name):
        options = {"eta": fields.pop("eta")} if "eta" in fields else {}
        config = {"_class_name": name, **STABLE_DIFFUSION, **fields}
        expected = theirs(config, steps, initial_noise(), **options)
        found = ours(make_table(config, "auto", steps, **options), initial_noise())
        differences.append((difference(found, expected), (steps, fields, options)))
    differences.sort(key=lambda pair: -pair[0])
    record_property("worst", differences[0])
    print(f"{name}: {len(differences)} loops, worst {differences[0]}")  # noqa: T201
    assert differences[0][0] <= 1e-4, [pair for pair in differences if pair[0] > 1e-4][:20]
