"""Reads a network's `config.json` and refuses by name what is not implemented."""

import difflib
from collections.abc import Mapping
from dataclasses import MISSING, fields
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints

Config = TypeVar("Config")

# What fields were called in the oldest files.
OLD_NAMES = {
    "block_channels": "block_out_channels", "down_blocks": "down_block_types",
    "downscale_freq_shift": "freq_shift", "image_size": "sample_size",
    "num_head_channels": "attention_head_dim", "num_res_blocks": "layers_per_block",
    "resnet_act_fn": "act_fn", "resnet_eps": "norm_eps", "resnet_num_groups": "norm_num_groups",
    "up_blocks": "up_block_types",
}  # fmt: skip
# What training with an average of the weights (EMA) left behind in published files.
LEFTOVERS = {
    "decay", "inv_gamma", "min_decay", "optimization_step", "power", "update_after_step",
    "use_ema_warmup",
}  # fmt: skip


def read_config(kind: type[Config], config: Mapping[str, Any], fixed: Mapping[str, Any]) -> Config:
    """Make a config dataclass of a parsed `config.json`.

    `fixed` holds the fields that exist in published files but are implemented for one value only.
    A null stands for the default, as it does in the files, unless the field may be null. Names of
    the oldest files are read as what they are now. Raises ValueError with every finding.
    """
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    wrong: list[str] = []
    for written, value in config.items():
        key = _current_name(written, config, {*known, *fixed})
        if key.startswith("_") or key in LEFTOVERS or (value is None and key not in known):
            continue
        if key in known:
            if value is not None or NoneType in get_args(hints[key]):
                values[key] = _current_types(value) if key.endswith("_types") else _frozen(value)
        elif key not in fixed:
            near = difflib.get_close_matches(key, [*known, *fixed], 1)
            wrong.append(
                f"unknown field '{written}'" + (f", did you mean '{near[0]}'?" if near else "")
            )
        elif _frozen(value) != fixed[key]:
            wrong.append(f"'{written}' is implemented for {fixed[key]!r} only, found {value!r}")
    wrong += [
        f"the field '{name}' is missing"
        for name, field in known.items()
        if name not in values and field.default is MISSING
    ]
    if wrong:
        raise ValueError(f"config of {kind.__name__.removesuffix('Config')}: " + "; ".join(wrong))
    return kind(**values)


def _current_name(name: str, config: Mapping[str, Any], fields: set[str]) -> str:
    current = OLD_NAMES.get(name, name)
    return current if name not in fields and current in fields and current not in config else name


def _current_types(types: Any) -> tuple[str, ...]:
    return tuple(block_type.removeprefix("UNetRes") for block_type in types)


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list | tuple) else value
