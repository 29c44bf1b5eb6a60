"""Samplers in words, for the command line."""

import inspect
import math
from typing import Any

from graph import parse_value

from .load import load_scheduler_config
from .schedulers import SCHEDULERS, Table, make_table

_SUFFIXES = ("karras", "exponential", "beta")
# Numbers of YAML that graph files do without; fields of a config may be without a bound.
_BEYOND = {".nan": math.nan, ".inf": math.inf, "-.inf": -math.inf}
_OPTIONS = [name for name in inspect.signature(make_table).parameters if name != "config"]


def list_schedulers() -> str:
    """List every sampler in a line: its names, what it is, the levels that may be its suffix."""
    names: dict[tuple[str, str], list[str]] = {}
    for name, (family, description, _) in SCHEDULERS.items():
        varied = any(name == f"{base}_{kind}" for base in SCHEDULERS for kind in _SUFFIXES)
        if name != family and not varied:
            names.setdefault((family, description), []).append(name)
    lines: list[str] = []
    for (_, description), (first, *others) in names.items():
        kinds = [f"_{kind}" for kind in _SUFFIXES if f"{first}_{kind}" in SCHEDULERS]
        also = [f"Also {', '.join(others)}."] if others else []
        also += [f"With {' '.join(kinds)}."] if kinds else []
        lines.append(f"  {first:<16} {' '.join([description, *also])}")
    classes = sum(name == entry.family for name, entry in SCHEDULERS.items())
    lines.insert(0, "samplers (run-graph schedulers NAME prints the rows of one)")
    lines.append("\nauto is the one that the checkpoint names.")
    lines.append(
        f"The {classes} class names of diffusers are names, too, and those of other programs:"
    )
    lines.append("DPM++ 2M Karras is dpmpp_2m_karras.")
    return "\n".join(lines)


def describe_schedule(name: str, *words: str) -> str:
    """Print the rows of a sampler's table, on the noise levels of `model` or of the words.

    Words are name=value: model, what make_table takes, or fields of a scheduler_config.json.
    Raises ValueError for a word that sets nothing, GraphError for a value that is not YAML, and
    what make_table raises.
    """
    given: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"'{word}' sets nothing: write name=value, such as steps=12")
        given[key] = _BEYOND[value] if value in _BEYOND else parse_value(value, key)
    model = given.pop("model", None)
    config = {} if model is None else load_scheduler_config(str(model)).values
    options = {key: given.pop(key) for key in _OPTIONS if key in given}
    table = make_table({**config, **given}, **{"scheduler": name, **options})
    return "\n".join([_summary(name, table), "", *_rows(table)])


def _summary(name: str, table: Table) -> str:
    calls, draws = len(table.timesteps), sum(table.noisy)
    return (
        f"{name}: {table.name}, {calls} calls of the network, {draws} of them draw noise, "
        f"{table.memory} memory slots\nfirst sample = {table.initial_scale:g} * noise"
    )


def _rows(table: Table) -> list[str]:
    lines = ["  call   timestep    alpha      sigma      sigma/alpha  fresh noise"]
    columns = (table.timesteps.tolist(), table.alphas.tolist(), table.sigmas.tolist())
    for call, (time, alpha, sigma) in enumerate(zip(*columns, strict=True)):
        ratio = sigma / alpha if alpha else float("inf")
        noise = f"{table.update[call, 0, 3].item():.6f}" if table.noisy[call] else "-"
        lines.append(
            f"  {call + 1:4}  {time:9.3f}  {alpha:9.6f}  {sigma:9.6f}  {ratio:12.6f}  {noise:>11}"
        )
    return lines
