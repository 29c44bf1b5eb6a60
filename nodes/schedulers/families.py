"""Families: scheduler classes with their fields, grids and solvers.

They give what diffusers gives, but for three of its errors: "trailing" grids never run below
timestep 0, a partial run of LMS uses the history that it has, and third-order steps with fresh
noise have the sign that k-diffusion gives them. Two more errors made published pictures, so that
only two fields of our own correct them: `exact_third_order` (DPM-Solver++ 3M) and `shift_once`.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from . import first_order, flow, grids, multistep, pseudo, two_calls
from .formulas import Solver
from .grids import Grid
from .levels import BETA_SCHEDULES, Settings

# Fields that several classes share, with the defaults that most of them have.
GROUPS: dict[str, dict[str, Any]] = {
    "training": {"num_train_timesteps": 1000, "beta_start": 0.0001, "beta_end": 0.02,
                 "beta_schedule": "linear", "trained_betas": None, "prediction_type": "epsilon"},
    "latent": {"beta_start": 0.00085, "beta_end": 0.012},
    "linspace": {"timestep_spacing": "linspace", "steps_offset": 0},
    "leading": {"timestep_spacing": "leading", "steps_offset": 0},
    "zero_snr": {"rescale_betas_zero_snr": False},
    "clipping": {"clip_sample": True, "clip_sample_range": 1.0},
    "thresholding": {"thresholding": False, "dynamic_thresholding_ratio": 0.995,
                     "sample_max_value": 1.0},
    "respacing": {"use_karras_sigmas": False, "use_exponential_sigmas": False,
                  "use_beta_sigmas": False},
    "range": {"sigma_min": None, "sigma_max": None},
    "end": {"final_sigmas_type": "zero"},
    "orders": {"solver_order": 2, "lower_order_final": True},
    "dpm": {"algorithm_type": "dpmsolver++", "solver_type": "midpoint"},
    "clipped": {"lambda_min_clipped": float("-inf"), "variance_type": None},
    "dynamic": {"use_dynamic_shifting": False, "time_shift_type": "exponential"},
    "flow": {"use_flow_sigmas": False, "flow_shift": 1.0},
    "shift": {"num_train_timesteps": 1000, "shift": 1.0},
    "denoiser": {"sigma_min": 0.002, "sigma_max": 80.0, "sigma_data": 0.5, "rho": 7.0,
                 "sigma_schedule": "karras", "num_train_timesteps": 1000,
                 "prediction_type": "epsilon"},
    "distilled": {"beta_schedule": "scaled_linear", "clip_sample": False,
                  "original_inference_steps": 50, "set_alpha_to_one": True,
                  "timestep_scaling": 10.0},
    "by_size": {"base_shift": 0.5, "max_shift": 1.15, "base_image_seq_len": 256,
                "max_image_seq_len": 4096},
}  # fmt: skip
_EPSILON_V = {"prediction_type": "epsilon v_prediction"}
_ANY_FLOW = {"prediction_type": "epsilon sample v_prediction flow_prediction"}
# What a field may hold, where that is a choice and the class does not say otherwise.
CHOICES: dict[str, str] = {
    "beta_schedule": " ".join(BETA_SCHEDULES), "prediction_type": "epsilon sample v_prediction",
    "timestep_spacing": "linspace leading trailing", "final_sigmas_type": "zero sigma_min",
    "time_shift_type": "exponential linear", "interpolation_type": "linear log_linear",
    "timestep_type": "discrete continuous", "sigma_schedule": "karras exponential",
    "algorithm_type": "dpmsolver++ sde-dpmsolver++ dpmsolver", "solver_type": "midpoint heun",
    "solver_order": "1 2 3", "predictor_order": "1 2 3 4", "corrector_order": "1 2 3 4",
    "variance_type": "None learned learned_range",
    "tau_func": "None", "solver_p": "None", "noise_sampler_seed": "None",
}  # fmt: skip


class Family(NamedTuple):
    """A scheduler class: its fields with their defaults, its grid and its solver."""

    grid: Callable[[Settings, int], Grid]
    solver: Callable[[Settings, Grid], Solver]
    groups: str
    own: Mapping[str, Any] = {}  # fields or defaults beside those of the groups
    options: str = ""  # what make_table may be given besides
    fixed: Mapping[str, Any] = {}  # settings that no config can change
    choices: Mapping[str, str] = {}
    rederives_noise: bool = True  # whether clipping the clean estimate changes that of the noise

    @property
    def fields(self) -> dict[str, Any]:
        """Return the fields that a config may set, with their defaults."""
        groups = [*(GROUPS[name] for name in self.groups.split()), self.own]
        return {field: default for group in groups for field, default in group.items()}

    def allowed(self, field: str) -> list[str]:
        """Return what a field may hold, in words, where that is a choice; else nothing."""
        return (self.choices.get(field) or CHOICES.get(field, "")).split()


def _multistep(settings: Settings, steps: int) -> Grid:
    if settings["use_flow_sigmas"]:
        return flow.flow_multistep_grid(settings, steps)
    # On the cosine schedule the multistep class alone cuts the respaced timesteps.
    cut = "use_lu_lambdas" in settings and settings["beta_schedule"] == "squaredcos_cap_v2"
    return grids.ratio_grid(settings, steps, whole=True, round_karras=not cut)


_interpolated = partial(grids.ratio_grid, whole=False, round_karras=False)
_midpoints = partial(grids.ratio_grid, whole=False, round_karras=True)
_own_end = partial(_interpolated, own_end=True)
_ipndm = partial(multistep.linear_multistep, equal=True)
_dpm_2_ancestral = partial(two_calls.dpm_2, ancestral=True)
_euler, _ancestral = partial(first_order.ddim, eta=0.0), partial(first_order.ddim, eta=1.0)

_PIXELS = "training leading clipping thresholding zero_snr"
_K = "training latent linspace respacing"
_MULTI = "training thresholding respacing dynamic flow orders"
_DISTILLED = "training latent leading clipping thresholding zero_snr distilled"
_CLEAN_END, _REPEATED_END = {"final_sigmas_type": "zero"}, {"final_sigmas_type": "sigma_min"}
_FLOW = {"prediction_type": "flow_prediction"}
_LOG_RHO = {"algorithm_type": "deis", "solver_type": "logrho"}

_k_family = partial(Family, fixed=_CLEAN_END, choices=_EPSILON_V)

FAMILIES: dict[str, Family] = {
    "DDPMScheduler": Family(grids.next_grid, first_order.ddpm, _PIXELS,
        {"variance_type": "fixed_small"}, "timesteps",
        choices={"variance_type": "fixed_small fixed_small_log fixed_large learned_range"}),
    "DDIMScheduler": Family(grids.stride_grid, first_order.ddim, _PIXELS,
        {"set_alpha_to_one": True}, "eta", rederives_noise=False),
    "DDIMInverseScheduler": Family(grids.inverse_grid, _euler, _PIXELS.replace("thresholding ", ""),
        {"set_alpha_to_one": True}, choices={"timestep_spacing": "leading trailing"},
        rederives_noise=False),
    "PNDMScheduler": Family(grids.pseudo_grid, pseudo.pndm, "training leading",
        {"set_alpha_to_one": False, "skip_prk_steps": False}, choices=_EPSILON_V),
    "IPNDMScheduler": Family(grids.trigonometric_grid, _ipndm, "",
        {"num_train_timesteps": 1000, "trained_betas": None},
        fixed={"prediction_type": "v_prediction"}, choices={"trained_betas": "None"}),
    "EulerDiscreteScheduler": Family(_own_end, _euler,
        "training linspace respacing range zero_snr end",
        {"interpolation_type": "linear", "timestep_type": "discrete"}, "timesteps sigmas"),
    "EulerAncestralDiscreteScheduler": _k_family(_interpolated, _ancestral,
        "training linspace zero_snr"),
    "LMSDiscreteScheduler": Family(_interpolated, multistep.linear_multistep,
        "training linspace respacing", fixed=_CLEAN_END),
    "HeunDiscreteScheduler": Family(_interpolated, two_calls.heun, f"{_K} clipping",
        {"clip_sample": False}, "timesteps", _CLEAN_END),
    "KDPM2DiscreteScheduler": _k_family(_midpoints, two_calls.dpm_2, _K),
    "KDPM2AncestralDiscreteScheduler": _k_family(_midpoints, _dpm_2_ancestral, _K),
    "DPMSolverSDEScheduler": _k_family(_interpolated, two_calls.dpm_sde, _K,
        {"noise_sampler_seed": None}),
    "DPMSolverMultistepScheduler": Family(_multistep, multistep.dpm_multistep,
        f"{_MULTI} linspace dpm clipped end zero_snr",
        {"euler_at_final": False, "use_lu_lambdas": False, "exact_third_order": False},
        "timesteps mu shift", {}, _ANY_FLOW),
    "DPMSolverSinglestepScheduler": Family(_multistep, multistep.dpm_singlestep,
        f"{_MULTI} dpm clipped end", {"lower_order_final": False}, "timesteps mu shift",
        GROUPS["linspace"], _ANY_FLOW),
    "DEISMultistepScheduler": Family(_multistep, multistep.dpm_multistep, f"{_MULTI} linspace",
        _LOG_RHO, "mu shift", _REPEATED_END, _LOG_RHO | _ANY_FLOW),
    "UniPCMultistepScheduler": Family(_multistep, multistep.unipc,
        f"{_MULTI} linspace zero_snr end range",
        {"predict_x0": True, "solver_type": "bh2", "disable_corrector": [], "solver_p": None,
         "shift_terminal": None}, "mu shift sigmas", {}, {"solver_type": "bh1 bh2"} | _ANY_FLOW),
    "SASolverScheduler": Family(_multistep, multistep.sa_solver,
        "training linspace thresholding respacing flow clipped",
        {"predictor_order": 2, "corrector_order": 2, "tau_func": None,
         "algorithm_type": "data_prediction", "lower_order_final": True}, "shift",
        _REPEATED_END | {"use_dynamic_shifting": False},
        {"algorithm_type": "data_prediction"} | _ANY_FLOW),
    "LCMScheduler": Family(grids.distilled_grid, first_order.lcm, _DISTILLED, {}, "timesteps"),
    "TCDScheduler": Family(grids.distilled_grid, first_order.tcd, _DISTILLED, {}, "eta timesteps",
        {"clip_sample": False, "thresholding": False}),
    "EDMEulerScheduler": Family(grids.denoiser_grid, _euler, "denoiser end", choices=_EPSILON_V),
    "EDMDPMSolverMultistepScheduler": Family(grids.denoiser_grid, multistep.dpm_multistep,
        "denoiser end thresholding orders dpm", {"euler_at_final": False},
        choices={"algorithm_type": "dpmsolver++ sde-dpmsolver++"} | _EPSILON_V),
    "FlowMatchEulerDiscreteScheduler": Family(flow.flow_grid, first_order.flow_euler,
        "shift dynamic respacing by_size", {"invert_sigmas": False, "shift_terminal": None,
        "stochastic_sampling": False, "shift_once": False}, "mu shift sigmas", _FLOW),
    "FlowMatchHeunDiscreteScheduler": Family(flow.flow_grid, two_calls.heun, "shift", {}, "shift",
        _FLOW | {"use_dynamic_shifting": False, "invert_sigmas": False}),
}  # fmt: skip
