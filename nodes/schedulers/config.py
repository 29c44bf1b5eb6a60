"""Configs: from a scheduler_config.json and a name to the checked settings of one family."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from .families import FAMILIES
from .grids import respacing
from .levels import Settings
from .names import SCHEDULERS, plain_name

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
    fields, everywhere = FAMILIES[name].fields, {key for f in FAMILIES.values() for key in f.fields}
    # A config that was saved by swapping lists what the class before had only by default.
    defaulted = config.get("_use_default_values")
    dropped = defaulted if isinstance(defaulted, list) else []
    settings = {field: _choices(each)[0] for field, each in fields.items()}
    for key, value in config.items():
        if key.startswith("_") or key in dropped:
            continue
        if key not in everywhere:
            raise ValueError(_refusal("config field", key, everywhere))
        sibling = value in _SIBLINGS.get(key, ()) and value not in _choices(fields.get(key))
        if key in settings and not sibling:
            settings[key] = value
    settings |= {**sets, **FAMILIES[name].fixed}
    for field, each in fields.items():
        _check_value(f"{name}'s {field}", settings[field], each)
    _check_together(settings)
    return name, settings


def _choices(field: object) -> tuple[object, ...]:
    return field if isinstance(field, tuple) else (field,)


def _terms(name: str) -> str:
    known = ("beta_schedule", "shift", "sigma_data")
    return next((field for field in known if field in FAMILIES[name].fields), "none")


def _check_value(what: str, value: object, field: object) -> None:
    if isinstance(field, tuple):
        if str(value) not in map(str, field):
            raise ValueError(_refusal(what, value, field))
    elif _sort(field) not in ("", _sort(value)):
        raise ValueError(f"{what} must be {_sort(field)}, not {value!r}")


def _sort(value: object) -> str:
    if isinstance(value, bool):
        return "true or false"
    return "a number" if isinstance(value, int | float) else ""


def _check_together(settings: Settings) -> None:
    flow, to_clean = settings.get("use_flow_sigmas"), settings.get("final_sigmas_type") == "zero"
    if flow and respacing(settings):
        raise ValueError("use_flow_sigmas and a use_..._sigmas respacing exclude each other")
    if flow is False and settings["prediction_type"] == "flow_prediction":
        raise ValueError("prediction_type 'flow_prediction' needs use_flow_sigmas true")
    if to_clean and settings.get("algorithm_type") == "dpmsolver":
        raise ValueError("algorithm_type 'dpmsolver' needs final_sigmas_type 'sigma_min'")
    for field in ("predict_x0", "lower_order_final") if "predict_x0" in settings else ():
        if to_clean and not settings[field]:
            raise ValueError(f"{field} false needs final_sigmas_type 'sigma_min'")


def _refusal(what: str, found: object, allowed: Iterable[object]) -> str:
    names = sorted({str(name) for name in allowed})
    near = get_close_matches(str(found), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"it may be {', '.join(names)}"
    return f"{what} {found!r} is not known or not implemented; {hint}"
