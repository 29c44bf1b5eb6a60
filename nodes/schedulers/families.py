"""Families: scheduler classes with their grids, solvers and fields.

They give what diffusers gives, but for three of its errors: "trailing" grids never run below
timestep 0, a partial run of LMS uses the history that it has, and third-order steps with fresh
noise have the sign that k-diffusion gives them. Two more errors made published pictures, so that
only two fields of our own correct them: `exact_third_order` (DPM-Solver++ 3M) and `shift_once`.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from . import grids, solvers
from .formulas import Solver
from .grids import Grid
from .levels import BETA_SCHEDULES, Settings

_SPACINGS, _TYPES = ("linspace", "leading", "trailing"), ("epsilon", "sample", "v_prediction")
# What a config may set, in groups that classes share: a field's default, or all that is allowed,
# the default first.
GROUPS: dict[str, dict[str, Any]] = {
    "training": {"num_train_timesteps": 1000, "beta_start": 0.0001, "beta_end": 0.02,
                 "beta_schedule": tuple(BETA_SCHEDULES), "trained_betas": None,
                 "prediction_type": _TYPES},
    "latent": {"beta_start": 0.00085, "beta_end": 0.012},
    "two_types": {"prediction_type": ("epsilon", "v_prediction")},
    "all_types": {"prediction_type": (*_TYPES, "flow_prediction")},
    "linspace": {"timestep_spacing": _SPACINGS, "steps_offset": 0},
    "leading": {"timestep_spacing": ("leading", *_SPACINGS), "steps_offset": 0},
    "zero_snr": {"rescale_betas_zero_snr": False},
    "clipping": {"clip_sample": True, "clip_sample_range": 1.0},
    "thresholding": {"thresholding": False, "dynamic_thresholding_ratio": 0.995,
                     "sample_max_value": 1.0},
    "respacing": {"use_karras_sigmas": False, "use_exponential_sigmas": False,
                  "use_beta_sigmas": False},
    "range": {"sigma_min": None, "sigma_max": None},
    "end": {"final_sigmas_type": ("zero", "sigma_min")},
    "orders": {"solver_order": (2, 1, 3), "lower_order_final": True},
    "dpm": {"algorithm_type": ("dpmsolver++", "sde-dpmsolver++", "dpmsolver"),
            "solver_type": ("midpoint", "heun")},
    "clipped": {"lambda_min_clipped": float("-inf"),
                "variance_type": (None, "learned", "learned_range")},
    "flow": {"use_flow_sigmas": False, "flow_shift": 1.0},
    "shift": {"num_train_timesteps": 1000, "shift": 1.0},
    "dynamic": {"use_dynamic_shifting": False, "time_shift_type": ("exponential", "linear"),
                "mu": None},
    "by_size": {"base_shift": 0.5, "max_shift": 1.15, "base_image_seq_len": 256,
                "max_image_seq_len": 4096},
    "denoiser": {"sigma_min": 0.002, "sigma_max": 80.0, "sigma_data": 0.5, "rho": 7.0,
                 "sigma_schedule": ("karras", "exponential"), "num_train_timesteps": 1000},
    "distilled": {"beta_schedule": ("scaled_linear", *BETA_SCHEDULES),
                  "original_inference_steps": 50, "set_alpha_to_one": True,
                  "timestep_scaling": 10.0},
    "timesteps": {"timesteps": None},
    "sigmas": {"sigmas": None},
}  # fmt: skip
# Fields that a run sets, never a config; and what a class does that lacks a field.
OF_RUNS = ("eta", "mu", "timesteps", "sigmas")
ABSENT = {"timestep_spacing": "linspace", "steps_offset": 0, "final_sigmas_type": "zero",
          "prediction_type": "flow_prediction", "use_dynamic_shifting": False,
          "invert_sigmas": False, "eta": 0.0, "mu": None, "timesteps": None,
          "sigmas": None}  # fmt: skip


class Family(NamedTuple):
    """A scheduler class: its grid, its solver, what may be set, and what no config can change."""

    grid: Callable[[Settings, int], Grid]
    solver: Callable[[Settings, Grid], Solver]
    fields: Mapping[str, Any]  # a default, or what is allowed, the default first
    fixed: Mapping[str, Any] = {}


def _fields(groups: str, **own: Any) -> dict[str, Any]:
    return {key: each for name in groups.split() for key, each in GROUPS[name].items()} | own


_PIXELS = "training leading clipping zero_snr"
_TWO_CALLS = "training latent linspace respacing two_types"
_MULTI = "training all_types thresholding respacing flow"
_DISTILLED = "training latent leading zero_snr distilled timesteps"
_HELD_END = {"final_sigmas_type": "sigma_min"}

FAMILIES: dict[str, Family] = {
    "DDPMScheduler": Family(grids.next_grid, solvers.ddpm,
        _fields(f"{_PIXELS} thresholding timesteps",
            variance_type=("fixed_small", "fixed_small_log", "fixed_large", "learned_range"))),
    "DDIMScheduler": Family(grids.stride_grid, solvers.ddim,
        _fields(f"{_PIXELS} thresholding", set_alpha_to_one=True, eta=0.0)),
    "DDIMInverseScheduler": Family(grids.inverse_grid, solvers.ddim,
        _fields(_PIXELS, set_alpha_to_one=True, timestep_spacing=("leading", "trailing"))),
    "PNDMScheduler": Family(grids.pseudo_grid, solvers.pndm,
        _fields("training two_types leading", set_alpha_to_one=False, skip_prk_steps=False)),
    "IPNDMScheduler": Family(grids.trigonometric_grid, partial(solvers.linear_multistep, even=True),
        _fields("", num_train_timesteps=1000, trained_betas=(None,)),
        {"prediction_type": "v_prediction"}),
    "EulerDiscreteScheduler": Family(grids.ratio_grid, solvers.ddim,
        _fields("training linspace respacing range zero_snr end timesteps sigmas",
            interpolation_type=("linear", "log_linear"),
            timestep_type=("discrete", "continuous"))),
    "EulerAncestralDiscreteScheduler": Family(grids.ratio_grid, solvers.ddim,
        _fields("training two_types linspace zero_snr"), {"eta": 1.0}),
    "LMSDiscreteScheduler": Family(grids.ratio_grid, solvers.linear_multistep,
        _fields("training linspace respacing")),
    "HeunDiscreteScheduler": Family(grids.ratio_grid, solvers.heun,
        _fields("training latent linspace respacing clipping timesteps", clip_sample=False)),
    "KDPM2DiscreteScheduler": Family(partial(grids.ratio_grid, round_karras=True),
        solvers.dpm_2, _fields(_TWO_CALLS)),
    "KDPM2AncestralDiscreteScheduler": Family(partial(grids.ratio_grid, round_karras=True),
        partial(solvers.dpm_2, fresh="ancestral"), _fields(_TWO_CALLS)),
    "DPMSolverSDEScheduler": Family(grids.ratio_grid, partial(solvers.dpm_2, fresh="brownian"),
        _fields(_TWO_CALLS, noise_sampler_seed=(None,))),
    "DPMSolverMultistepScheduler": Family(grids.multistep_grid, solvers.dpm_multistep,
        _fields(f"{_MULTI} dynamic orders linspace dpm clipped end zero_snr timesteps",
            euler_at_final=False, use_lu_lambdas=False, exact_third_order=False)),
    "DPMSolverSinglestepScheduler": Family(grids.multistep_grid, solvers.dpm_singlestep,
        _fields(f"{_MULTI} dynamic orders dpm clipped end timesteps", lower_order_final=False)),
    "DEISMultistepScheduler": Family(grids.multistep_grid, solvers.dpm_multistep,
        _fields(f"{_MULTI} dynamic orders linspace", algorithm_type=("deis",),
            solver_type=("logrho",)), _HELD_END),
    "UniPCMultistepScheduler": Family(grids.multistep_grid, solvers.unipc,
        _fields(f"{_MULTI} dynamic orders linspace zero_snr end range sigmas", predict_x0=True,
            solver_type=("bh2", "bh1"), disable_corrector=[], solver_p=(None,),
            shift_terminal=None)),
    "SASolverScheduler": Family(grids.multistep_grid, solvers.sa_solver,
        _fields(f"{_MULTI} linspace clipped", predictor_order=(2, 1, 3, 4),
            corrector_order=(2, 1, 3, 4), tau_func=(None,), algorithm_type=("data_prediction",),
            lower_order_final=True), _HELD_END),
    "LCMScheduler": Family(grids.distilled_grid, solvers.lcm,
        _fields(f"{_DISTILLED} clipping thresholding", clip_sample=False)),
    "TCDScheduler": Family(grids.distilled_grid, solvers.tcd, _fields(_DISTILLED, eta=0.3)),
    "EDMEulerScheduler": Family(grids.denoiser_grid, solvers.ddim,
        _fields("denoiser two_types end")),
    "EDMDPMSolverMultistepScheduler": Family(grids.denoiser_grid, solvers.dpm_multistep,
        _fields("denoiser two_types end thresholding orders dpm", euler_at_final=False,
            exact_third_order=False, algorithm_type=("dpmsolver++", "sde-dpmsolver++"))),
    "FlowMatchEulerDiscreteScheduler": Family(grids.flow_grid, solvers.flow_euler,
        _fields("shift dynamic respacing by_size sigmas", invert_sigmas=False, shift_once=False,
            shift_terminal=None, stochastic_sampling=False)),
    "FlowMatchHeunDiscreteScheduler": Family(grids.flow_grid, solvers.heun, _fields("shift")),
}  # fmt: skip
