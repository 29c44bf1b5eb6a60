"""Whole sampling loops beside diffusers', over every class and its options."""

import importlib.util
from collections.abc import Callable, Iterator
from itertools import combinations, islice, product
from typing import Any

import pytest

from nodes.schedulers import make_table
from tests.schedulers_oracle import STABLE_DIFFUSION, difference, initial_noise, ours, theirs

pytestmark = pytest.mark.filterwarnings("ignore")

STEPS = (4, 10, 25)

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
    "EulerDiscreteScheduler": [
        GRID | TYPES | ENDS,
        *RESPACED,
        GRID | {"use_karras_sigmas": BOTH, "interpolation_type": ["log_linear"]},
        {"use_karras_sigmas": [True], "sigma_min": [0.002], "sigma_max": [700.0]}
        | {"timestep_type": ["continuous"], "prediction_type": ["v_prediction"]},
        BETAS,
        ZERO_SNR,
    ],
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
    "SASolverScheduler": [
        GRID | TYPES,
        LOWERED | {"predictor_order": [1, 2, 3, 4], "corrector_order": [1, 2, 3, 4]},
        FLOW,
        *RESPACED,
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


def cases(name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number of steps and the fields of cases that show any three values together."""
    seen: set[tuple[str, ...]] = set()
    for choice in CASES[name]:
        for steps, *values in product(STEPS, *choice.values()):
            fields = dict(zip(choice, values, strict=True))
            given = [f"{option} {value}" for option, value in {"steps": steps, **fields}.items()]
            shown = set(combinations(given, min(3, len(given))))
            if not shown <= seen:
                seen |= shown
                yield steps, fields


@pytest.mark.parametrize("every", [31, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", CASES)
def test_loops_agree(name: str, every: int, record_property: Callable[[str, object], None]) -> None:
    if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
        pytest.skip(f"diffusers' {name} needs {NEEDS[name]}")
    differences: list[tuple[float, object]] = []
    for steps, fields in islice(cases(name), None, None, every):
        options = {"eta": fields.pop("eta")} if "eta" in fields else {}
        config = {"_class_name": name, **STABLE_DIFFUSION, **fields}
        expected = theirs(config, steps, initial_noise(), **options)
        found = ours(make_table(config, "auto", steps, **options), initial_noise())
        differences.append((difference(found, expected), (steps, fields, options)))
    differences.sort(key=lambda pair: -pair[0])
    record_property("worst", differences[0])
    print(f"{name}: {len(differences)} loops, worst {differences[0]}")
    assert differences[0][0] <= 1e-4, [pair for pair in differences if pair[0] > 1e-4][:20]
