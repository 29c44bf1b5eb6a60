"""What is there: scheduler classes with their fields, grids and solvers, and their short names."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from . import first_order, flow, grids, multistep, pseudo, two_calls
from .formulas import Solver
from .grids import Grid
from .levels import Settings


class Family(NamedTuple):
    """A scheduler class: its fields with their defaults, its grid and its solver."""

    fields: dict[str, Any]
    grid: Callable[[Settings, int], Grid]
    solver: Callable[[Settings, Grid], Solver]
    options: tuple[str, ...] = ()  # what make_table may be given besides
    fixed: Mapping[str, Any] = {}  # settings that no config can change
    rederives_noise: bool = True  # whether clipping the clean estimate changes that of the noise


_TRAINING: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "trained_betas": None,
    "prediction_type": "epsilon",
}
_LINSPACE: dict[str, Any] = {"timestep_spacing": "linspace", "steps_offset": 0}
_LEADING: dict[str, Any] = {"timestep_spacing": "leading", "steps_offset": 0}
_LATENT: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012}
_ZERO_SNR: dict[str, Any] = {"rescale_betas_zero_snr": False}
_CLIPPING: dict[str, Any] = {"clip_sample": True, "clip_sample_range": 1.0}
_THRESHOLDING: dict[str, Any] = {
    "thresholding": False,
    "dynamic_thresholding_ratio": 0.995,
    "sample_max_value": 1.0,
}
_RESPACING: dict[str, Any] = {
    "use_karras_sigmas": False,
    "use_exponential_sigmas": False,
    "use_beta_sigmas": False,
}
_DYNAMIC: dict[str, Any] = {"use_dynamic_shifting": False, "time_shift_type": "exponential"}
_MULTISTEP = (
    _TRAINING
    | _THRESHOLDING
    | _RESPACING
    | _DYNAMIC
    | {
        "use_flow_sigmas": False,
        "flow_shift": 1.0,
        "solver_order": 2,
        "lower_order_final": True,
    }
)
_DPM: dict[str, Any] = {
    "algorithm_type": "dpmsolver++",
    "solver_type": "midpoint",
    "final_sigmas_type": "zero",
    "lambda_min_clipped": float("-inf"),
    "variance_type": None,
}
_DENOISER: dict[str, Any] = {
    "sigma_min": 0.002,
    "sigma_max": 80.0,
    "sigma_data": 0.5,
    "sigma_schedule": "karras",
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "rho": 7.0,
    "final_sigmas_type": "zero",
}
_DISTILLED = (
    _TRAINING
    | _LATENT
    | _LEADING
    | _CLIPPING
    | _THRESHOLDING
    | _ZERO_SNR
    | {
        "beta_schedule": "scaled_linear",
        "clip_sample": False,
        "original_inference_steps": 50,
        "set_alpha_to_one": True,
        "timestep_scaling": 10.0,
    }
)
_FLOW: dict[str, Any] = {"num_train_timesteps": 1000, "shift": 1.0}

_ends_clean: dict[str, Any] = {"final_sigmas_type": "zero"}
_interpolated = partial(grids.ratio_grid, whole=False, round_karras=False)


def _multistep_grid(settings: Settings, steps: int) -> Grid:
    if settings["use_flow_sigmas"]:
        return flow.flow_multistep_grid(settings, steps)
    # On the cosine schedule the multistep class alone cuts the respaced timesteps.
    cut = "use_lu_lambdas" in settings and settings["beta_schedule"] == "squaredcos_cap_v2"
    return grids.ratio_grid(settings, steps, whole=True, round_karras=not cut)


def _unipc_grid(settings: Settings, steps: int) -> Grid:
    if settings["use_flow_sigmas"]:
        return flow.flow_unipc_grid(settings, steps)
    return grids.ratio_grid(settings, steps, whole=True, round_karras=True)


FAMILIES: dict[str, Family] = {
    "DDPMScheduler": Family(
        _TRAINING
        | _LEADING
        | _CLIPPING
        | _THRESHOLDING
        | _ZERO_SNR
        | {"variance_type": "fixed_small"},
        grids.next_grid,
        first_order.ddpm,
        options=("timesteps",),
    ),
    "DDIMScheduler": Family(
        _TRAINING | _LEADING | _CLIPPING | _THRESHOLDING | _ZERO_SNR | {"set_alpha_to_one": True},
        grids.stride_grid,
        first_order.ddim,
        options=("eta",),
        rederives_noise=False,
    ),
    "DDIMInverseScheduler": Family(
        _TRAINING | _LEADING | _CLIPPING | _ZERO_SNR | {"set_alpha_to_one": True},
        grids.inverse_grid,
        first_order.euler,
        rederives_noise=False,
    ),
    "PNDMScheduler": Family(
        _TRAINING | _LEADING | {"set_alpha_to_one": False, "skip_prk_steps": False},
        grids.stride_grid,
        pseudo.pndm,
    ),
    "IPNDMScheduler": Family(
        {"num_train_timesteps": 1000, "trained_betas": None},
        grids.trigonometric_grid,
        multistep.ipndm,
        fixed={"prediction_type": "v_prediction"},
    ),
    "EulerDiscreteScheduler": Family(
        _TRAINING
        | _LINSPACE
        | _RESPACING
        | _ZERO_SNR
        | {
            "interpolation_type": "linear",
            "sigma_min": None,
            "sigma_max": None,
            "timestep_type": "discrete",
            "final_sigmas_type": "zero",
        },
        partial(_interpolated, end_in_own_scale=True),
        first_order.euler,
        options=("timesteps", "sigmas"),
    ),
    "EulerAncestralDiscreteScheduler": Family(
        _TRAINING | _LINSPACE | _ZERO_SNR,
        _interpolated,
        first_order.euler_ancestral,
        fixed=_ends_clean,
    ),
    "LMSDiscreteScheduler": Family(
        _TRAINING | _LINSPACE | _RESPACING, _interpolated, multistep.lms, fixed=_ends_clean
    ),
    "HeunDiscreteScheduler": Family(
        _TRAINING | _LATENT | _LINSPACE | _RESPACING | _CLIPPING | {"clip_sample": False},
        _interpolated,
        two_calls.heun,
        options=("timesteps",),
        fixed=_ends_clean,
    ),
    "KDPM2DiscreteScheduler": Family(
        _TRAINING | _LATENT | _LINSPACE | _RESPACING,
        partial(grids.ratio_grid, whole=False, round_karras=True),
        two_calls.dpm_2,
        fixed=_ends_clean,
    ),
    "KDPM2AncestralDiscreteScheduler": Family(
        _TRAINING | _LATENT | _LINSPACE | _RESPACING,
        partial(grids.ratio_grid, whole=False, round_karras=True),
        partial(two_calls.dpm_2, ancestral=True),
        fixed=_ends_clean,
    ),
    "DPMSolverSDEScheduler": Family(
        _TRAINING | _LATENT | _LINSPACE | _RESPACING | {"noise_sampler_seed": None},
        _interpolated,
        two_calls.dpm_sde,
        fixed=_ends_clean,
    ),
    "DPMSolverMultistepScheduler": Family(
        _MULTISTEP
        | _LINSPACE
        | _DPM
        | _ZERO_SNR
        | {"euler_at_final": False, "use_lu_lambdas": False},
        _multistep_grid,
        multistep.dpm_multistep,
        options=("timesteps", "mu"),
    ),
    "DPMSolverSinglestepScheduler": Family(
        _MULTISTEP | _DPM | {"lower_order_final": False},
        _multistep_grid,
        multistep.dpm_singlestep,
        options=("timesteps", "mu"),
        fixed=_LINSPACE,
    ),
    "DEISMultistepScheduler": Family(
        _MULTISTEP | _LINSPACE | {"algorithm_type": "deis", "solver_type": "logrho"},
        _multistep_grid,
        multistep.dpm_multistep,
        options=("mu",),
        fixed={"final_sigmas_type": "sigma_min"},
    ),
    "UniPCMultistepScheduler": Family(
        _MULTISTEP
        | _LINSPACE
        | _ZERO_SNR
        | {
            "final_sigmas_type": "zero",
            "predict_x0": True,
            "solver_type": "bh2",
            "disable_corrector": [],
            "solver_p": None,
            "sigma_min": None,
            "sigma_max": None,
            "shift_terminal": None,
        },
        _unipc_grid,
        multistep.unipc,
        options=("mu", "sigmas"),
    ),
    "LCMScheduler": Family(_DISTILLED, grids.distilled_grid, first_order.lcm, ("timesteps",)),
    "TCDScheduler": Family(
        _DISTILLED,
        grids.distilled_grid,
        first_order.tcd,
        options=("eta", "timesteps"),
        fixed={"clip_sample": False, "thresholding": False},
    ),
    "EDMEulerScheduler": Family(_DENOISER, grids.denoiser_grid, first_order.euler),
    "EDMDPMSolverMultistepScheduler": Family(
        _DENOISER
        | _THRESHOLDING
        | {
            "solver_order": 2,
            "algorithm_type": "dpmsolver++",
            "solver_type": "midpoint",
            "lower_order_final": True,
            "euler_at_final": False,
        },
        grids.denoiser_grid,
        multistep.dpm_multistep,
    ),
    "FlowMatchEulerDiscreteScheduler": Family(
        _FLOW
        | _DYNAMIC
        | _RESPACING
        | {
            "base_shift": 0.5,
            "max_shift": 1.15,
            "base_image_seq_len": 256,
            "max_image_seq_len": 4096,
            "invert_sigmas": False,
            "shift_terminal": None,
            "stochastic_sampling": False,
        },
        flow.flow_grid,
        first_order.flow_euler,
        options=("mu", "sigmas"),
        fixed={"prediction_type": "flow_prediction"},
    ),
    "FlowMatchHeunDiscreteScheduler": Family(
        _FLOW,
        flow.flow_grid,
        two_calls.heun,
        fixed={
            "prediction_type": "flow_prediction",
            "use_dynamic_shifting": False,
            "invert_sigmas": False,
        },
    ),
}


class Scheduler(NamedTuple):
    """A name that users know: the class behind it, one line about it, what it sets there."""

    family: str
    description: str
    sets: Mapping[str, Any] = {}


_MULTI, _SINGLE = "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler"
_PLAIN: dict[str, Any] = {"algorithm_type": "dpmsolver++", "solver_order": 2}
_SDE: dict[str, Any] = {"algorithm_type": "sde-dpmsolver++", "solver_order": 2}

SCHEDULERS: dict[str, Scheduler] = {
    "ddpm": Scheduler("DDPMScheduler", "Ancestral sampling, as trained; many steps."),
    "ddim": Scheduler("DDIMScheduler", "First order, deterministic unless eta is set."),
    "ddim_inverse": Scheduler("DDIMInverseScheduler", "From a picture back to its noise."),
    "pndm": Scheduler(
        "PNDMScheduler", "Fourth-order multistep on the noise (PLMS).", {"skip_prk_steps": True}
    ),
    "ipndm": Scheduler("IPNDMScheduler", "PNDM without warm-up, on its own levels."),
    "euler": Scheduler("EulerDiscreteScheduler", "First order, on fractional timesteps."),
    "euler_ancestral": Scheduler(
        "EulerAncestralDiscreteScheduler", "Euler with fresh noise at every step."
    ),
    "lms": Scheduler("LMSDiscreteScheduler", "Fourth-order linear multistep."),
    "heun": Scheduler("HeunDiscreteScheduler", "Second order, two calls a step."),
    "dpm_2": Scheduler("KDPM2DiscreteScheduler", "Midpoint steps, two calls a step."),
    "dpm_2_ancestral": Scheduler(
        "KDPM2AncestralDiscreteScheduler", "Midpoint steps with fresh noise."
    ),
    "dpmpp_2m": Scheduler(_MULTI, "DPM-Solver++, second-order multistep; 20 to 30 steps.", _PLAIN),
    "dpmpp_3m": Scheduler(
        _MULTI, "DPM-Solver++, third-order multistep.", _PLAIN | {"solver_order": 3}
    ),
    "dpmpp_2m_sde": Scheduler(_MULTI, "DPM-Solver++ 2M with fresh noise.", _SDE),
    "dpmpp_3m_sde": Scheduler(
        _MULTI, "DPM-Solver++ 3M with fresh noise.", _SDE | {"solver_order": 3}
    ),
    "dpmpp_2s": Scheduler(_SINGLE, "DPM-Solver++ in groups of two calls.", _PLAIN),
    "dpmpp_3s": Scheduler(
        _SINGLE, "DPM-Solver++ in groups of three calls.", _PLAIN | {"solver_order": 3}
    ),
    "dpmpp_sde": Scheduler("DPMSolverSDEScheduler", "Two ancestral steps from one sample."),
    "deis": Scheduler("DEISMultistepScheduler", "Multistep on the noise in log(sigma / alpha)."),
    "unipc": Scheduler("UniPCMultistepScheduler", "Predictor and corrector; 10 to 25 steps."),
    "lcm": Scheduler("LCMScheduler", "Latent consistency models; 2 to 8 steps."),
    "tcd": Scheduler("TCDScheduler", "Trajectory consistency models; 2 to 8 steps."),
    "edm_euler": Scheduler("EDMEulerScheduler", "Euler for preconditioned denoisers."),
    "edm_dpmpp_2m": Scheduler(
        "EDMDPMSolverMultistepScheduler", "DPM-Solver++ 2M for preconditioned denoisers."
    ),
    "flow_euler": Scheduler("FlowMatchEulerDiscreteScheduler", "Euler for flow matching."),
    "flow_heun": Scheduler("FlowMatchHeunDiscreteScheduler", "Heun for flow matching."),
}
SCHEDULERS |= {
    f"{name}_{kind}": entry._replace(
        description=f"{entry.description[:-1]}, on {kind} levels.",
        sets={**entry.sets, f"use_{kind}_sigmas": True},
    )
    for name, entry in SCHEDULERS.items()
    for kind in ("karras", "exponential", "beta")
    if f"use_{kind}_sigmas" in FAMILIES[entry.family].fields
}
SCHEDULERS |= {
    name: Scheduler(name, f"The class {name} as its config has it.") for name in FAMILIES
}
