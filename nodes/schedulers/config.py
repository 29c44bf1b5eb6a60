"""Configs: from a scheduler_config.json and a name to the checked settings of one family."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from .families import FAMILIES
from .levels import BETA_SCHEDULES, Settings
from .names import SCHEDULERS
from .spacing import respacing

_PREDICTIONS = ("epsilon", "sample", "v_prediction")
# What a field may hold, where that is a choice; below, where a class differs.
_CHOICES: dict[str, tuple[object, ...]] = {
    "beta_schedule": tuple(BETA_SCHEDULES),
    "prediction_type": _PREDICTIONS,
    "timestep_spacing": ("linspace", "leading", "trailing"),
    "final_sigmas_type": ("zero", "sigma_min"),
    "time_shift_type": ("exponential", "linear"),
    "interpolation_type": ("linear", "log_linear"),
    "timestep_type": ("discrete", "continuous"),
    "solver_type": ("midpoint", "heun"),
    "algorithm_type": ("dpmsolver++", "sde-dpmsolver++", "dpmsolver"),
    "solver_order": (1, 2, 3),
    "predictor_order": (1, 2, 3, 4),
    "corrector_order": (1, 2, 3, 4),
    "tau_func": (None,),
    "solver_p": (None,),
    "sigma_schedule": ("karras", "exponential"),
    "noise_sampler_seed": (None,),
    "variance_type": (None, "learned", "learned_range"),
}
_NO_SAMPLE: dict[str, tuple[object, ...]] = {"prediction_type": ("epsilon", "v_prediction")}
_WITH_FLOW: dict[str, tuple[object, ...]] = {"prediction_type": (*_PREDICTIONS, "flow_prediction")}
_CLASS_CHOICES: dict[str, dict[str, tuple[object, ...]]] = {
    "DDPMScheduler": {
        "variance_type": ("fixed_small", "fixed_small_log", "fixed_large", "learned_range")
    },
    "DDIMInverseScheduler": {"timestep_spacing": ("leading", "trailing")},
    "PNDMScheduler": _NO_SAMPLE,
    "EulerAncestralDiscreteScheduler": _NO_SAMPLE,
    "KDPM2DiscreteScheduler": _NO_SAMPLE,
    "KDPM2AncestralDiscreteScheduler": _NO_SAMPLE,
    "DPMSolverSDEScheduler": _NO_SAMPLE,
    "IPNDMScheduler": {"trained_betas": (None,)},
    "DPMSolverMultistepScheduler": _WITH_FLOW,
    "DPMSolverSinglestepScheduler": _WITH_FLOW,
    "DEISMultistepScheduler": {
        "algorithm_type": ("deis",),
        "solver_type": ("logrho",),
        **_WITH_FLOW,
    },
    "SASolverScheduler": {"algorithm_type": ("data_prediction",), **_WITH_FLOW},
    "UniPCMultistepScheduler": {"solver_type": ("bh1", "bh2"), **_WITH_FLOW},
    "EDMEulerScheduler": _NO_SAMPLE,
    "EDMDPMSolverMultistepScheduler": {
        "algorithm_type": ("dpmsolver++", "sde-dpmsolver++"),
        **_NO_SAMPLE,
    },
}
# Values of a sibling class that a swap brings along, and what they mean here.
_TO_MIDPOINT = {"solver_type": dict.fromkeys(("logrho", "bh1", "bh2"), "midpoint")}
_TRANSLATIONS: dict[str, dict[str, dict[str, str]]] = {
    _name: {**_TO_MIDPOINT, "algorithm_type": {"deis": "dpmsolver++"}}
    for _name in ("DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler")
} | {
    "DEISMultistepScheduler": {
        "solver_type": dict.fromkeys(("midpoint", "heun", "bh1", "bh2"), "logrho"),
        "algorithm_type": dict.fromkeys(("dpmsolver", "dpmsolver++"), "deis"),
    },
    "UniPCMultistepScheduler": {
        "solver_type": dict.fromkeys(("midpoint", "heun", "logrho"), "bh2")
    },
}


def resolve(config: Mapping[str, object], scheduler: str = "auto") -> tuple[str, Settings]:
    """Return the class and its complete settings, as diffusers resolves a config.

    Fields that the class has are kept, its own defaults fill the rest, fields of other classes
    are leftovers of a swap and ignored. Raises ValueError for a name, a field or a value that
    is unknown or not implemented.
    """
    if scheduler == "auto":
        name, sets = str(config.get("_class_name")), {}
        if name not in FAMILIES:
            raise ValueError(_refusal("the config's _class_name", name, FAMILIES))
    elif scheduler in SCHEDULERS:
        name, _, sets = SCHEDULERS[scheduler]
    else:
        raise ValueError(_refusal("scheduler", scheduler, ["auto", *SCHEDULERS]))
    family = FAMILIES[name]
    _check_swap(str(config.get("_class_name")), name)
    # A config that was saved by swapping lists what the class before had only by default.
    defaulted = config.get("_use_default_values")
    dropped = defaulted if isinstance(defaulted, list) else []
    everywhere = {key for each in FAMILIES.values() for key in each.fields}
    given: dict[str, object] = {}
    for key, value in config.items():
        if key.startswith("_") or key in dropped:
            continue
        if key not in everywhere:
            raise ValueError(_refusal("config field", key, everywhere))
        if key in family.fields:
            meanings = _TRANSLATIONS.get(name, {}).get(key, {})
            given[key] = meanings.get(value, value) if isinstance(value, str) else value
    settings = {**family.fields, **given, **sets, **family.fixed}
    _check(name, settings)
    return name, settings


def _check_swap(source: str, target: str) -> None:
    """Refuse to take noise levels from a config that describes them in other terms."""
    if source in FAMILIES and _terms(source) != _terms(target):
        raise ValueError(
            f"{source} and {target} do not describe noise levels in the same terms "
            f"({_terms(source)} and {_terms(target)}), so one cannot stand in for the other"
        )


def _terms(name: str) -> str:
    known = ("beta_schedule", "shift", "sigma_data")
    return next((field for field in known if field in FAMILIES[name].fields), "none")


def _check(name: str, settings: Settings) -> None:
    choices = {**_CHOICES, **_CLASS_CHOICES.get(name, {})}
    for field, default in FAMILIES[name].fields.items():
        value = settings[field]
        if field in choices and value not in choices[field]:
            raise ValueError(_refusal(f"{name}'s {field}", value, choices[field]))
        if isinstance(default, bool) and not isinstance(value, bool):
            raise ValueError(f"{name}'s {field} must be true or false, not {value!r}")
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if isinstance(default, int | float) and not isinstance(default, bool) and not number:
            raise ValueError(f"{name}'s {field} must be a number, not {value!r}")
    flow = settings.get("use_flow_sigmas")
    if flow and respacing(settings):
        raise ValueError("use_flow_sigmas and a use_..._sigmas respacing exclude each other")
    if (
        "use_flow_sigmas" in settings
        and settings["prediction_type"] == "flow_prediction"
        and not flow
    ):
        raise ValueError("prediction_type 'flow_prediction' needs use_flow_sigmas true")
    if settings.get("final_sigmas_type") == "zero":
        if settings.get("algorithm_type") == "dpmsolver":
            raise ValueError("algorithm_type 'dpmsolver' needs final_sigmas_type 'sigma_min'")
        for field in ("predict_x0", "lower_order_final") if "predict_x0" in settings else ():
            if not settings[field]:
                raise ValueError(f"{field} false needs final_sigmas_type 'sigma_min'")


def _refusal(what: str, found: object, allowed: Iterable[object]) -> str:
    names = sorted(str(name) for name in allowed)
    near = get_close_matches(str(found), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"it may be {', '.join(names)}"
    return f"{what} {found!r} is not known or not implemented; {hint}"
