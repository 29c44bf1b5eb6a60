"""Shipped graphs on small checkpoints, and random mistakes in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import yaml
from hypothesis import strategies as st
from PIL import Image as Picture

import nodes  # noqa: F401
from graph import bind, load, load_text, node_types, shipped_graphs
from graph.text import plain, read
from runtime.check import Report, check_shapes

TINY: dict[str, Any] = {
    "prompt": "a fox", "first": "a cat", "second": "a dog", "image": "picture.png", "steps": 2,
    "mask": "picture.png", "width": 64, "height": 64, "count": 1, "tile": 64,
}  # fmt: skip
NUMBERS = [0, 1, 2, 3, 5, 8, 16, 30, 64, 100, 999, -1, 0.3, 0.5, 1.0, 1.5, 1e9]
LITERALS = [
    *NUMBERS,
    True,
    None,
    "",
    "no",
    "emoji-32",
    "euler",
    "x.png",
    [],
    [1, 2],
    [[1]],
    {"a": 1},
]

Data = dict[str, Any]
Site = tuple[Data, str]


def as_text(data: Data) -> str:
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def check(data: Data) -> Report:
    """Check a graph at both depths; raises GraphError for what names and types alone tell."""
    graph = load_text(as_text(data), "g.yaml")
    return check_shapes(graph, bind(graph, {}), torch.float32)


def base_graphs(folder: Path, names: Iterable[str] | None = None) -> dict[str, Data]:
    """Give the shipped graphs that are right on a small embedded checkpoint, as plain data."""
    Picture.new("RGB", (64, 64), (200, 40, 90)).save(folder / "picture.png")
    found: dict[str, Data] = {}
    for name in shipped_graphs() if names is None else names:
        graph = load(name)
        for model in ("emoji-64", "emoji-32"):
            data = plain(read(graph.source, name))
            tiny = {**TINY, "model": model}
            data["inputs"] = {key: tiny.get(key, value) for key, value in data["inputs"].items()}
            wanted = [key for key, it in graph.inputs.items() if it.required and key not in tiny]
            if not wanted and not check(data).findings:
                found[name] = data
                break
    return found


def sites(value: Any) -> Iterator[Site]:
    """Walk over every entry of every mapping: blocks, arguments, inputs, carries, outputs."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield value, key
            yield from sites(inner)


def mutated(data: Data, draw: Callable[[st.SearchStrategy[Any]], Any]) -> Data:
    """Make one mistake: drop, rename, swap, retype or rewire an entry, or call another node."""
    data = deepcopy(data)
    every = list(sites(data))

    def one(of: list[Any]) -> Any:
        return draw(st.sampled_from(of))

    where, key = one(every)
    match one(["drop", "rename", "swap", "number", "retype", "rewire", "recall"]):
        case "drop":
            del where[key]
        case "rename":
            other = one(sorted({name for _, name in every}))
            where[other] = where.pop(key)
        case "swap":
            there, name = one(every)
            where[key], there[name] = deepcopy(there[name]), deepcopy(where[key])
        case "number":
            numeric = [(d, k) for d, k in every if isinstance(d[k], int | float)]
            where, key = one(numeric) if numeric else (where, key)
            where[key] = one(NUMBERS)
        case "retype":
            where[key] = one(LITERALS)
        case "rewire":
            wired = [(d, k) for d, k in every if isinstance(d[k], str) and d[k].startswith("$")]
            where, key = one(wired)
            where[key] = one(sorted({d[k] for d, k in wired}))
        case "recall":
            calls = [(inner, name) for inner, name in every if name == "node"]
            where, key = one(calls) if calls else (where, key)
            where[key] = one(sorted(node_types()))
    return data
