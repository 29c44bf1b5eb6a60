"""Configs: from a name and a scheduler_config.json to the checked settings of one family."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

from .families import ABSENT, FAMILIES, OF_RUNS
from .grids import respacing
from .levels import Settings

Config = Mapping[str, object]  # a parsed scheduler_config.json


class Scheduler(NamedTuple):
    """A name that users know: the class behind it, one line about it, what it sets there."""

    family: str
    description: str
    sets: Mapping[str, Any] = {}


_MULTI, _SINGLE = "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler"
_UNIPC, _SDE = "UniPCMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}
_SECOND, _THIRD = ({"algorithm_type": "dpmsolver++", "solver_order": order} for order in (2, 3))

# Names as in ComfyUI, A1111 and diffusers; each also with the suffixes that its class knows.
SCHEDULERS: dict[str, Scheduler] = {name: Scheduler(*row) for name, row in {
    "ddpm": ("DDPMScheduler", "Ancestral sampling, as trained; many steps."),
    "ddim": ("DDIMScheduler", "First order, deterministic unless eta is set."),
    "ddim_inverse": ("DDIMInverseScheduler", "From a picture back to its noise."),
    "pndm": ("PNDMScheduler", "Fourth-order multistep on the noise.", {"skip_prk_steps": True}),
    "ipndm": ("IPNDMScheduler", "Fourth-order multistep, steps taken for equally long."),
    "euler": ("EulerDiscreteScheduler", "First order, on fractional timesteps."),
    "euler_ancestral": ("EulerAncestralDiscreteScheduler", "Euler with fresh noise at each step."),
    "lms": ("LMSDiscreteScheduler", "Fourth-order linear multistep."),
    "heun": ("HeunDiscreteScheduler", "Second order, two calls a step."),
    "dpm_2": ("KDPM2DiscreteScheduler", "Midpoint steps, two calls a step."),
    "dpm_2_ancestral": ("KDPM2AncestralDiscreteScheduler", "Midpoint steps with fresh noise."),
    "dpmpp_2m": (_MULTI, "DPM-Solver++, second-order multistep; 20 to 30 steps.", _SECOND),
    "dpmpp_3m": (_MULTI, "DPM-Solver++, third-order multistep.", _THIRD),
    "dpmpp_3m_exact": (_MULTI, "DPM-Solver++ 3M with the whole quadratic term.",
                       _THIRD | {"exact_third_order": True}),
    "dpmpp_2m_sde": (_MULTI, "DPM-Solver++ 2M with fresh noise.", _SECOND | _SDE),
    "dpmpp_2m_sde_heun": (_MULTI, "DPM-Solver++ 2M SDE with the exact slope.",
                          _SECOND | _SDE | {"solver_type": "heun"}),
    "dpmpp_3m_sde": (_MULTI, "DPM-Solver++ 3M with fresh noise.", _THIRD | _SDE),
    "dpmpp_2s": (_SINGLE, "DPM-Solver++ in groups of two calls.", _SECOND),
    "dpmpp_3s": (_SINGLE, "DPM-Solver++ in groups of three calls.", _THIRD),
    "dpmpp_sde": ("DPMSolverSDEScheduler", "Two ancestral steps from one sample."),
    "res_multistep": (_MULTI, "DPM-Solver++ 2M with the exact slope.",
                      _SECOND | {"solver_type": "heun"}),
    "deis": ("DEISMultistepScheduler", "Multistep on the noise in log(sigma / alpha)."),
    "unipc": (_UNIPC, "Predictor and corrector; 10 to 25 steps."),
    "uni_pc": (_UNIPC, "UniPC-3 with B(h) = h.", {"solver_order": 3, "solver_type": "bh1"}),
    "uni_pc_bh2": (_UNIPC, "UniPC of third order.", {"solver_order": 3, "solver_type": "bh2"}),
    "sa_solver": ("SASolverScheduler", "Stochastic Adams predictor and corrector."),
    "lcm": ("LCMScheduler", "Latent consistency models; 2 to 8 steps."),
    "tcd": ("TCDScheduler", "Trajectory consistency models; 2 to 8 steps."),
    "edm_euler": ("EDMEulerScheduler", "Euler for preconditioned denoisers."),
    "edm_dpmpp_2m": ("EDMDPMSolverMultistepScheduler", "DPM++ 2M for preconditioned denoisers."),
    "flow_euler": ("FlowMatchEulerDiscreteScheduler", "Euler for flow matching."),
    "flow_heun": ("FlowMatchHeunDiscreteScheduler", "Heun for flow matching."),
}.items()}  # fmt: skip
_ALSO = {"plms": "pndm", "euler_a": "euler_ancestral", "dpm2": "dpm_2", "dpm2_a": "dpm_2_ancestral",
         "dpm_2_a": "dpm_2_ancestral", "dpmpp_sde_gpu": "dpmpp_sde",
         "dpmpp_2m_sde_gpu": "dpmpp_2m_sde", "dpmpp_2m_sde_heun_gpu": "dpmpp_2m_sde_heun",
         "dpmpp_3m_sde_gpu": "dpmpp_3m_sde"}  # fmt: skip
SCHEDULERS |= {name: SCHEDULERS[ours] for name, ours in _ALSO.items()}
SCHEDULERS |= {
    f"{name}_{kind}": Scheduler(
        entry.family,
        f"{entry.description[:-1]}, on {kind} levels.",
        {**entry.sets, f"use_{kind}_sigmas": True},
    )
    for name, entry in SCHEDULERS.items()
    for kind in ("karras", "exponential", "beta")
    if f"use_{kind}_sigmas" in FAMILIES[entry.family].fields
}
SCHEDULERS |= {
    name: Scheduler(name, f"The class {name} as its config has it.") for name in FAMILIES
}


def plain_name(name: str) -> str:
    """Return a name as the table has it: "DPM++ 2M Karras" is dpmpp_2m_karras."""
    plain = name.lower().replace("++", "pp").replace(" ", "_").replace("-", "_")
    return plain if plain in SCHEDULERS else name


# Values that a swap brings along from a sibling class: the new class has its own instead.
_SIBLINGS = {
    "solver_type": ("midpoint", "heun", "logrho", "bh1", "bh2"),
    "algorithm_type": ("deis", "dpmsolver", "dpmsolver++"),
}
_SORTS: dict[type, str] = {bool: "true or false", int: "a number", float: "a number"}


def resolve(
    config: Config, scheduler: str = "auto", options: Mapping[str, Any] | None = None
) -> tuple[str, dict[str, Any]]:
    """Return the class and its complete settings, as diffusers resolves a config.

    Fields that the class has are kept, its own defaults fill the rest, fields of other classes
    are leftovers of a swap and ignored; what a run sets (`options`, None: nothing) is not. Raises
    ValueError for a name, a field or a value that is unknown or not implemented.
    """
    source, chosen = str(config.get("_class_name")), plain_name(scheduler)
    if scheduler == "auto" and source not in FAMILIES:
        raise ValueError(_refusal("the config's _class_name", source, FAMILIES))
    if scheduler != "auto" and chosen not in SCHEDULERS:
        raise ValueError(_refusal("scheduler", scheduler, ["auto", *SCHEDULERS]))
    name, _, sets = SCHEDULERS[source if scheduler == "auto" else chosen]
    if source in FAMILIES and _terms(source) != _terms(name):
        raise ValueError(
            f"{source} and {name} do not describe noise levels in the same terms "
            f"({_terms(source)} and {_terms(name)}), so one cannot stand in for the other"
        )
    fields, known = FAMILIES[name].fields, {key for f in FAMILIES.values() for key in f.fields}
    # A config that was saved by swapping lists what the class before had only by default.
    defaulted = config.get("_use_default_values")
    dropped = defaulted if isinstance(defaulted, list) else []
    settings = ABSENT | {field: _choices(each)[0] for field, each in fields.items()}
    for key, value in config.items():
        if key.startswith("_") or key in dropped:
            continue
        if key not in known.difference(OF_RUNS):
            raise ValueError(_refusal("config field", key, known.difference(OF_RUNS)))
        sibling = value in _SIBLINGS.get(key, ()) and value not in _choices(fields.get(key))
        if key in fields and not sibling:
            settings[key] = value
    settings |= {**sets, **FAMILIES[name].fixed}
    _check_values(name, settings)
    _check_together(settings)
    return name, settings | _checked_options(name, settings, options or {})


def _choices(field: object) -> tuple[object, ...]:
    return field if isinstance(field, tuple) else (field,)


def _terms(name: str) -> str:
    known = ("beta_schedule", "shift", "sigma_data")
    return next((field for field in known if field in FAMILIES[name].fields), "none")


def _check_values(name: str, settings: Settings) -> None:
    for field, allowed in FAMILIES[name].fields.items():
        what, value = f"{name}'s {field}", settings[field]
        if isinstance(allowed, tuple) and str(value) not in map(str, allowed):
            raise ValueError(_refusal(what, value, allowed))
        sort = _SORTS.get(type(allowed))
        if sort and _SORTS.get(type(value)) != sort:
            raise ValueError(f"{what} must be {sort}, not {value!r}")


def _check_together(settings: Settings) -> None:
    flow, to_clean = settings.get("use_flow_sigmas"), settings["final_sigmas_type"] == "zero"
    if flow and respacing(settings):
        raise ValueError("use_flow_sigmas and a use_..._sigmas respacing exclude each other")
    if flow is False and settings["prediction_type"] == "flow_prediction":
        raise ValueError("prediction_type 'flow_prediction' needs use_flow_sigmas true")
    if to_clean and settings.get("algorithm_type") == "dpmsolver":
        raise ValueError("algorithm_type 'dpmsolver' needs final_sigmas_type 'sigma_min'")
    for field in ("predict_x0", "lower_order_final") if "predict_x0" in settings else ():
        if to_clean and not settings[field]:
            raise ValueError(f"{field} false needs final_sigmas_type 'sigma_min'")


def _checked_options(name: str, settings: Settings, options: Mapping[str, Any]) -> dict[str, Any]:
    given = {option: value for option, value in options.items() if value is not None}
    for option in given:
        names = {option, f"flow_{option}"}  # the shift of one class is the flow_shift of another
        takers = [key for key, each in FAMILIES.items() if names & {*each.fields}]
        if name not in takers:
            raise ValueError(f"{name} takes no {option}; {', '.join(sorted(takers))} do")
    for option, flag in (("mu", "use_dynamic_shifting"), ("shift", "use_flow_sigmas")):
        if option in given and not settings.get(flag, True):
            raise ValueError(f"{option} needs {flag} true")
    if "shift" not in given:
        return given
    if not given["shift"] > 0:
        raise ValueError(f"shift must be above 0, not {given['shift']}")
    return {**given, "flow_shift": given["shift"]}


def _refusal(what: str, found: object, allowed: Iterable[object]) -> str:
    names = sorted({str(name) for name in allowed})
    near = get_close_matches(str(found), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"it may be {', '.join(names)}"
    return f"{what} {found!r} is not known or not implemented; {hint}"
