"""Families: scheduler classes with their fields, grids and solvers.

They give what diffusers gives, but for three of its errors: "trailing" grids never run below
timestep 0, a partial run of LMS uses the history that it has, and third-order steps with fresh
noise have the sign that k-diffusion gives them.
"""

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


# Fields that several classes share, with the defaults that most of them have.
_GROUPS: dict[str, dict[str, Any]] = {
    "training": {
        "num_train_timesteps": 1000,
        "beta_start": 0.0001,
        "beta_end": 0.02,
        "beta_schedule": "linear",
        "trained_betas": None,
        "prediction_type": "epsilon",
    },
    "latent": {"beta_start": 0.00085, "beta_end": 0.012},
    "linspace": {"timestep_spacing": "linspace", "steps_offset": 0},
    "leading": {"timestep_spacing": "leading", "steps_offset": 0},
    "zero_snr": {"rescale_betas_zero_snr": False},
    "clipping": {"clip_sample": True, "clip_sample_range": 1.0},
    "thresholding": {
        "thresholding": False,
        "dynamic_thresholding_ratio": 0.995,
        "sample_max_value": 1.0,
    },
    "respacing": {
        "use_karras_sigmas": False,
        "use_exponential_sigmas": False,
        "use_beta_sigmas": False,
    },
    "range": {"sigma_min": None, "sigma_max": None},
    "end": {"final_sigmas_type": "zero"},
    "orders": {"solver_order": 2, "lower_order_final": True},
    "dpm": {"algorithm_type": "dpmsolver++", "solver_type": "midpoint"},
    "clipped": {"lambda_min_clipped": float("-inf"), "variance_type": None},
    "dynamic": {"use_dynamic_shifting": False, "time_shift_type": "exponential"},
    "flow": {"use_flow_sigmas": False, "flow_shift": 1.0},
    "shift": {"num_train_timesteps": 1000, "shift": 1.0},
    "denoiser": {
        "sigma_min": 0.002,
        "sigma_max": 80.0,
        "sigma_data": 0.5,
        "sigma_schedule": "karras",
        "num_train_timesteps": 1000,
        "prediction_type": "epsilon",
        "rho": 7.0,
    },
    "distilled": {
        "beta_schedule": "scaled_linear",
        "clip_sample": False,
        "original_inference_steps": 50,
        "set_alpha_to_one": True,
        "timestep_scaling": 10.0,
    },
}


def _fields(groups: str, **more: Any) -> dict[str, Any]:
    """Join groups of fields, later ones overriding, and what one class has of its own."""
    joined: dict[str, Any] = {}
    for name in groups.split():
        joined |= _GROUPS[name]
    return joined | more


_PIXELS = "training leading clipping thresholding zero_snr"
_K_DIFFUSION = "training latent linspace respacing"
_MULTISTEP = "training linspace thresholding respacing dynamic flow orders"
_DISTILLED = "training latent leading clipping thresholding zero_snr distilled"
_CLEAN_END = {"final_sigmas_type": "zero"}
_FLOW = {"prediction_type": "flow_prediction"}

_interpolated = partial(grids.ratio_grid, whole=False, round_karras=False)
_midpoints = partial(grids.ratio_grid, whole=False, round_karras=True)


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
        _fields(_PIXELS, variance_type="fixed_small"),
        grids.next_grid,
        first_order.ddpm,
        options=("timesteps",),
    ),
    "DDIMScheduler": Family(
        _fields(_PIXELS, set_alpha_to_one=True),
        grids.stride_grid,
        first_order.ddim,
        options=("eta",),
        rederives_noise=False,
    ),
    "DDIMInverseScheduler": Family(
        _fields("training leading clipping zero_snr", set_alpha_to_one=True),
        grids.inverse_grid,
        first_order.euler,
        rederives_noise=False,
    ),
    "PNDMScheduler": Family(
        _fields("training leading", set_alpha_to_one=False, skip_prk_steps=False),
        grids.pseudo_grid,
        pseudo.pndm,
    ),
    "IPNDMScheduler": Family(
        {"num_train_timesteps": 1000, "trained_betas": None},
        grids.trigonometric_grid,
        multistep.ipndm,
        fixed={"prediction_type": "v_prediction"},
    ),
    "EulerDiscreteScheduler": Family(
        _fields(
            "training linspace respacing range zero_snr end",
            interpolation_type="linear",
            timestep_type="discrete",
        ),
        partial(_interpolated, end_in_own_scale=True),
        first_order.euler,
        options=("timesteps", "sigmas"),
    ),
    "EulerAncestralDiscreteScheduler": Family(
        _fields("training linspace zero_snr"),
        _interpolated,
        first_order.euler_ancestral,
        fixed=_CLEAN_END,
    ),
    "LMSDiscreteScheduler": Family(
        _fields("training linspace respacing"), _interpolated, multistep.lms, fixed=_CLEAN_END
    ),
    "HeunDiscreteScheduler": Family(
        _fields(f"{_K_DIFFUSION} clipping", clip_sample=False),
        _interpolated,
        two_calls.heun,
        options=("timesteps",),
        fixed=_CLEAN_END,
    ),
    "KDPM2DiscreteScheduler": Family(
        _fields(_K_DIFFUSION), _midpoints, two_calls.dpm_2, fixed=_CLEAN_END
    ),
    "KDPM2AncestralDiscreteScheduler": Family(
        _fields(_K_DIFFUSION), _midpoints, two_calls.dpm_2_ancestral, fixed=_CLEAN_END
    ),
    "DPMSolverSDEScheduler": Family(
        _fields(_K_DIFFUSION, noise_sampler_seed=None),
        _interpolated,
        two_calls.dpm_sde,
        fixed=_CLEAN_END,
    ),
    "DPMSolverMultistepScheduler": Family(
        _fields(
            f"{_MULTISTEP} dpm clipped end zero_snr", euler_at_final=False, use_lu_lambdas=False
        ),
        _multistep_grid,
        multistep.dpm_multistep,
        options=("timesteps", "mu"),
    ),
    "DPMSolverSinglestepScheduler": Family(
        {
            field: default
            for field, default in _fields(f"{_MULTISTEP} dpm clipped end").items()
            if field not in _GROUPS["linspace"]
        }
        | {"lower_order_final": False},
        _multistep_grid,
        multistep.dpm_singlestep,
        options=("timesteps", "mu"),
        fixed=_GROUPS["linspace"],
    ),
    "DEISMultistepScheduler": Family(
        _fields(_MULTISTEP, algorithm_type="deis", solver_type="logrho"),
        _multistep_grid,
        multistep.dpm_multistep,
        options=("mu",),
        fixed={"final_sigmas_type": "sigma_min"},
    ),
    "UniPCMultistepScheduler": Family(
        _fields(
            f"{_MULTISTEP} zero_snr end range",
            predict_x0=True,
            solver_type="bh2",
            disable_corrector=[],
            solver_p=None,
            shift_terminal=None,
        ),
        _unipc_grid,
        multistep.unipc,
        options=("mu", "sigmas"),
    ),
    "SASolverScheduler": Family(
        _fields(
            "training linspace thresholding respacing flow clipped",
            predictor_order=2,
            corrector_order=2,
            tau_func=None,
            algorithm_type="data_prediction",
            lower_order_final=True,
        ),
        _multistep_grid,
        multistep.sa_solver,
        fixed={"final_sigmas_type": "sigma_min", "use_dynamic_shifting": False},
    ),
    "LCMScheduler": Family(
        _fields(_DISTILLED), grids.distilled_grid, first_order.lcm, options=("timesteps",)
    ),
    "TCDScheduler": Family(
        _fields(_DISTILLED),
        grids.distilled_grid,
        first_order.tcd,
        options=("eta", "timesteps"),
        fixed={"clip_sample": False, "thresholding": False},
    ),
    "EDMEulerScheduler": Family(_fields("denoiser end"), grids.denoiser_grid, first_order.euler),
    "EDMDPMSolverMultistepScheduler": Family(
        _fields("denoiser end thresholding orders dpm", euler_at_final=False),
        grids.denoiser_grid,
        multistep.dpm_multistep,
    ),
    "FlowMatchEulerDiscreteScheduler": Family(
        _fields(
            "shift dynamic respacing",
            base_shift=0.5,
            max_shift=1.15,
            base_image_seq_len=256,
            max_image_seq_len=4096,
            invert_sigmas=False,
            shift_terminal=None,
            stochastic_sampling=False,
        ),
        flow.flow_grid,
        first_order.flow_euler,
        options=("mu", "sigmas"),
        fixed=_FLOW,
    ),
    "FlowMatchHeunDiscreteScheduler": Family(
        _fields("shift"),
        flow.flow_grid,
        two_calls.heun,
        fixed=_FLOW | {"use_dynamic_shifting": False, "invert_sigmas": False},
    ),
}
