"""Passes over a checked graph, each from graph to graph, before anything runs."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from graph import Graph, prune

from .hoist import hoist
from .known import fill_in, plain
from .late import run_late
from .settle import settle
from .share import share_equal_calls
from .twins import merge_twins

PASSES: Mapping[str, Callable[[Graph], Graph]] = {
    "share": share_equal_calls,
    "settle": settle,
    "twins": merge_twins,
    "hoist": hoist,
    "late": run_late,
}
"""The passes that can be left out, in their order."""


def make_plan(graph: Graph, known: Mapping[str, Any], passes: Iterable[str] = PASSES) -> Graph:
    """Turn a graph into one that gives the same outputs for less; `known` are its inputs.

    Raises ValueError for a pass that there is not.
    """
    chosen = set(passes)
    if unknown := chosen - set(PASSES):
        raise ValueError(f"there is no pass {min(unknown)!r}: they are {', '.join(PASSES)}")
    plan = prune(fill_in(graph, known))
    for name, plan_pass in PASSES.items():
        if name in chosen:
            plan = plan_pass(plan)
    return plan


__all__ = ["PASSES", "make_plan", "plain", "share_equal_calls"]
