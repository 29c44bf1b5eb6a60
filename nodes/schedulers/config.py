"""Configs: from a scheduler_config.json and a name to the checked settings of one family."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from .families import FAMILIES
from .levels import Settings
from .names import SCHEDULERS, plain_name
from .spacing import respacing

# Values that a swap brings along from a sibling class: the new class has its own instead.
_SIBLINGS = {
    "solver_type": ("midpoint", "heun", "logrho", "bh1", "bh2"),
    "algorithm_type": ("deis", "dpmsolver", "dpmsolver++"),
}


def resolve(config: Mapping[str, object], scheduler: str = "auto") -> tuple[str, Settings]:
    """Return the class and its complete settings, as diffusers resolves a config.

    Fields that the class has are kept, its own defaults fill the rest, fields of other classes
    are leftovers of a swap and ignored. Raises ValueError for a name, a field or a value that
    is unknown or not implemented.
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
    family, everywhere = FAMILIES[name], {key for each in FAMILIES.values() for key in each.fields}
    # A config that was saved by swapping lists what the class before had only by default.
    defaulted = config.get("_use_default_values")
    dropped = defaulted if isinstance(defaulted, list) else []
    settings = family.fields
    for key, value in config.items():
        if key.startswith("_") or key in dropped:
            continue
        if key not in everywhere:
            raise ValueError(_refusal("config field", key, everywhere))
        siblings = [each for each in _SIBLINGS.get(key, ()) if each not in family.allowed(key)]
        if key in settings and value not in siblings:
            settings[key] = value
    settings |= {**sets, **family.fixed}
    _check(name, settings)
    return name, settings


def _terms(name: str) -> str:
    known = ("beta_schedule", "shift", "sigma_data")
    return next((field for field in known if field in FAMILIES[name].fields), "none")


def _check(name: str, settings: Settings) -> None:
    family = FAMILIES[name]
    for field, default in family.fields.items():
        value = settings[field]
        choices = family.allowed(field)
        if choices and str(value) not in choices:
            raise ValueError(_refusal(f"{name}'s {field}", value, choices))
        if isinstance(default, bool) and not isinstance(value, bool):
            raise ValueError(f"{name}'s {field} must be true or false, not {value!r}")
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if isinstance(default, int | float) and not isinstance(default, bool) and not number:
            raise ValueError(f"{name}'s {field} must be a number, not {value!r}")
    flow = settings.get("use_flow_sigmas")
    if flow and respacing(settings):
        raise ValueError("use_flow_sigmas and a use_..._sigmas respacing exclude each other")
    if flow is False and settings["prediction_type"] == "flow_prediction":
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
