"""Passes over a checked graph, each from graph to graph, before anything runs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from graph import Graph, prune

from .compiled import compile_networks
from .hoist import hoist
from .known import fill_in, plain
from .late import run_late
from .settle import settle
from .share import share_equal_calls
from .together import put_together
from .twins import merge_twins

PASSES: Mapping[str, Callable[[Graph], Graph]] = {
    "settle": settle,
    "share": share_equal_calls,
    "twins": merge_twins,
    "hoist": hoist,
    "late": run_late,
}
"""The passes that can be left out, in their order."""
ON_REQUEST: Mapping[str, Callable[[Graph], Graph]] = {"compile": compile_networks}
"""Passes that come after those, and are made only where they are named."""
ALL = {**PASSES, **ON_REQUEST}
MEANING: Mapping[str, str] = {
    "settle": "a call that only hands on one of its arguments is that argument",
    "share": "equal calls are one call",
    "twins": "calls of a network that differ per picture are one call on a larger batch",
    "hoist": "what a loop does not change is done once, in front of it",
    "late": "what takes memory is made when it is needed, and let go of",
    "compile": "networks that loops call are compiled by PyTorch; with --compile alone",
}
"""What each pass does, in words for a person."""


def make_plan(graph: Graph, known: Mapping[str, Any], passes: Iterable[str] = PASSES) -> Graph:
    """Turn a graph into one that gives the same outputs for less; `known` are its inputs.

    Raises ValueError for a pass that there is not.
    """
    return _passed(prune(fill_in(graph, known)), passes)


def plan_together(
    graph: Graph, runs: Sequence[Mapping[str, Any]], passes: Iterable[str] = PASSES
) -> tuple[Graph, dict[str, Any]]:
    """Plan several runs of a graph as one, and give the inputs of that: see `put_together`."""
    whole, known = put_together(graph, runs)
    return _passed(whole, passes), known


def _passed(plan: Graph, passes: Iterable[str]) -> Graph:
    chosen = set(passes)
    if unknown := chosen - set(ALL):
        raise ValueError(f"there is no pass {min(unknown)!r}: they are {', '.join(ALL)}")
    for name, plan_pass in ALL.items():
        if name in chosen:
            plan = plan_pass(plan)
    return plan


__all__ = ["ALL", "MEANING", "PASSES", "make_plan", "plain", "plan_together", "share_equal_calls"]
