"""Reads a network's `config.json` and refuses by name what is not implemented."""

import difflib
from collections.abc import Mapping
from dataclasses import MISSING, fields
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints

Config = TypeVar("Config")


def read_config(kind: type[Config], config: Mapping[str, Any], fixed: Mapping[str, Any]) -> Config:
    """Make a config dataclass of a parsed `config.json`.

    `fixed` holds the fields that exist in published files but are implemented for one value only.
    A null stands for the default, as it does in the files, unless the field may be null. Raises
    ValueError with every finding.
    """
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    wrong: list[str] = []
    for key, value in config.items():
        if key.startswith("_") or (value is None and key not in known):
            continue
        if key in known:
            if value is not None or NoneType in get_args(hints[key]):
                values[key] = _frozen(value)
        elif key not in fixed:
            near = difflib.get_close_matches(key, [*known, *fixed], 1)
            wrong.append(
                f"unknown field '{key}'" + (f", did you mean '{near[0]}'?" if near else "")
            )
        elif _frozen(value) != fixed[key]:
            wrong.append(f"'{key}' is implemented for {fixed[key]!r} only, found {value!r}")
    wrong += [
        f"the field '{name}' is missing"
        for name, field in known.items()
        if name not in values and field.default is MISSING
    ]
    if wrong:
        raise ValueError(f"config of {kind.__name__.removesuffix('Config')}: " + "; ".join(wrong))
    return kind(**values)


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list | tuple) else value
