"""Families: scheduler classes with their fields, grids and solvers.

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
_SLOPES, _DPM = ("midpoint", "heun"), ("dpmsolver++", "sde-dpmsolver++", "dpmsolver")
# Fields that several classes share: a default, or all that is allowed with the default first.
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
    "dpm": {"algorithm_type": _DPM, "solver_type": _SLOPES},
    "clipped": {"lambda_min_clipped": float("-inf"),
                "variance_type": (None, "learned", "learned_range")},
    "dynamic": {"use_dynamic_shifting": False, "time_shift_type": ("exponential", "linear")},
    "flow": {"use_flow_sigmas": False, "flow_shift": 1.0},
    "shift": {"num_train_timesteps": 1000, "shift": 1.0},
    "denoiser": {"sigma_min": 0.002, "sigma_max": 80.0, "sigma_data": 0.5, "rho": 7.0,
                 "sigma_schedule": ("karras", "exponential"), "num_train_timesteps": 1000},
    "distilled": {"beta_schedule": ("scaled_linear", *BETA_SCHEDULES), "clip_sample": False,
                  "original_inference_steps": 50, "set_alpha_to_one": True,
                  "timestep_scaling": 10.0},
    "by_size": {"base_shift": 0.5, "max_shift": 1.15, "base_image_seq_len": 256,
                "max_image_seq_len": 4096},
}  # fmt: skip


class Family(NamedTuple):
    """A scheduler class: its grid, its solver, and its fields as GROUPS has them."""

    grid: Callable[[Settings, int], Grid]
    solver: Callable[[Settings, Grid], Solver]
    groups: str
    own: Mapping[str, Any] = {}  # fields beside, or instead of, those of the groups
    options: str = ""  # what make_table may be given besides
    fixed: Mapping[str, Any] = {}  # settings that no config can change

    @property
    def fields(self) -> dict[str, Any]:
        """Return the fields that a config may set: a default, or what is allowed, that first."""
        groups = [*(GROUPS[name] for name in self.groups.split()), self.own]
        return {field: value for group in groups for field, value in group.items()}


def _multistep(settings: Settings, steps: int) -> Grid:
    if settings["use_flow_sigmas"]:
        return grids.flow_multistep_grid(settings, steps)
    # On the cosine schedule the multistep class alone cuts the respaced timesteps.
    cut = "use_lu_lambdas" in settings and settings["beta_schedule"] == "squaredcos_cap_v2"
    return grids.ratio_grid(settings, steps, whole=True, round_karras=not cut)


_interpolated = partial(grids.ratio_grid, whole=False, round_karras=False)
_midpoints = partial(grids.ratio_grid, whole=False, round_karras=True)
_own_end = partial(_interpolated, own_end=True)

_PIXELS = "training leading clipping zero_snr"
_K = "training latent linspace respacing"
_MULTI = "training all_types thresholding respacing flow"
_DISTILLED = "training latent leading clipping thresholding zero_snr distilled"
_CLEAN_END, _REPEATED_END = {"final_sigmas_type": "zero"}, {"final_sigmas_type": "sigma_min"}
_VELOCITY = {"prediction_type": "flow_prediction"}

FAMILIES: dict[str, Family] = {
    "DDPMScheduler": Family(grids.next_grid, solvers.ddpm, f"{_PIXELS} thresholding",
        {"variance_type": ("fixed_small", "fixed_small_log", "fixed_large", "learned_range")},
        "timesteps"),
    "DDIMScheduler": Family(grids.stride_grid, solvers.ddim, f"{_PIXELS} thresholding",
        {"set_alpha_to_one": True}, "eta"),
    "DDIMInverseScheduler": Family(grids.inverse_grid, solvers.ddim, _PIXELS,
        {"set_alpha_to_one": True, "timestep_spacing": ("leading", "trailing")}),
    "PNDMScheduler": Family(grids.pseudo_grid, solvers.pndm, "training two_types leading",
        {"set_alpha_to_one": False, "skip_prk_steps": False}),
    "IPNDMScheduler": Family(grids.trigonometric_grid,
        partial(solvers.linear_multistep, even=True), "",
        {"num_train_timesteps": 1000, "trained_betas": (None,)},
        fixed={"prediction_type": "v_prediction"}),
    "EulerDiscreteScheduler": Family(_own_end, solvers.ddim,
        "training linspace respacing range zero_snr end",
        {"interpolation_type": ("linear", "log_linear"),
         "timestep_type": ("discrete", "continuous")}, "timesteps sigmas"),
    "EulerAncestralDiscreteScheduler": Family(_interpolated, solvers.ddim,
        "training two_types linspace zero_snr", fixed=_CLEAN_END | {"eta": 1.0}),
    "LMSDiscreteScheduler": Family(_interpolated, solvers.linear_multistep,
        "training linspace respacing", fixed=_CLEAN_END),
    "HeunDiscreteScheduler": Family(_interpolated, solvers.heun, f"{_K} clipping",
        {"clip_sample": False}, "timesteps", _CLEAN_END),
    "KDPM2DiscreteScheduler": Family(_midpoints, solvers.dpm_2, f"{_K} two_types",
        fixed=_CLEAN_END),
    "KDPM2AncestralDiscreteScheduler": Family(_midpoints,
        partial(solvers.dpm_2, fresh="ancestral"), f"{_K} two_types", fixed=_CLEAN_END),
    "DPMSolverSDEScheduler": Family(_interpolated,
        partial(solvers.dpm_2, fresh="brownian"), f"{_K} two_types",
        {"noise_sampler_seed": (None,)}, fixed=_CLEAN_END),
    "DPMSolverMultistepScheduler": Family(_multistep, solvers.dpm_multistep,
        f"{_MULTI} dynamic orders linspace dpm clipped end zero_snr",
        {"euler_at_final": False, "use_lu_lambdas": False, "exact_third_order": False},
        "timesteps mu shift"),
    "DPMSolverSinglestepScheduler": Family(_multistep, solvers.dpm_singlestep,
        f"{_MULTI} dynamic orders dpm clipped end", {"lower_order_final": False},
        "timesteps mu shift", {"timestep_spacing": "linspace", "steps_offset": 0}),
    "DEISMultistepScheduler": Family(_multistep, solvers.dpm_multistep,
        f"{_MULTI} dynamic orders linspace", {"algorithm_type": ("deis",),
        "solver_type": ("logrho",)}, "mu shift", _REPEATED_END),
    "UniPCMultistepScheduler": Family(_multistep, solvers.unipc,
        f"{_MULTI} dynamic orders linspace zero_snr end range",
        {"predict_x0": True, "solver_type": ("bh2", "bh1"), "disable_corrector": [],
         "solver_p": (None,), "shift_terminal": None}, "mu shift sigmas"),
    "SASolverScheduler": Family(_multistep, solvers.sa_solver, f"{_MULTI} linspace clipped",
        {"predictor_order": (2, 1, 3, 4), "corrector_order": (2, 1, 3, 4), "tau_func": (None,),
         "algorithm_type": ("data_prediction",), "lower_order_final": True}, "shift",
        _REPEATED_END | {"use_dynamic_shifting": False}),
    "LCMScheduler": Family(grids.distilled_grid, solvers.lcm, _DISTILLED, {}, "timesteps"),
    "TCDScheduler": Family(grids.distilled_grid, solvers.tcd, _DISTILLED, {}, "eta timesteps",
        {"clip_sample": False, "thresholding": False}),
    "EDMEulerScheduler": Family(grids.denoiser_grid, solvers.ddim, "denoiser two_types end"),
    "EDMDPMSolverMultistepScheduler": Family(grids.denoiser_grid, solvers.dpm_multistep,
        "denoiser two_types end thresholding orders dpm",
        {"algorithm_type": _DPM[:2], "euler_at_final": False}),
    "FlowMatchEulerDiscreteScheduler": Family(grids.flow_grid, solvers.flow_euler,
        "shift dynamic respacing by_size", {"invert_sigmas": False, "shift_terminal": None,
        "stochastic_sampling": False, "shift_once": False}, "mu shift sigmas", _VELOCITY),
    "FlowMatchHeunDiscreteScheduler": Family(grids.flow_grid, solvers.heun, "shift", {},
        "shift", _VELOCITY | {"use_dynamic_shifting": False, "invert_sigmas": False}),
}  # fmt: skip
