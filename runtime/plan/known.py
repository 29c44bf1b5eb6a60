"""What a run sets is written into its graph."""

from collections.abc import Mapping
from typing import Any

from graph import Graph, Literal, Value

from .rename import changed_blocks, substituting, with_blocks

PLAIN = (str, int, float, bool, type(None))


def plain(known: Mapping[str, Any]) -> dict[str, Any]:
    """Pick the values that a plan may depend on."""
    return {name: value for name, value in known.items() if type(value) in PLAIN}


def fill_in(graph: Graph, known: Mapping[str, Any]) -> Graph:
    """Put the plain values of inputs in their places, so that other passes see them."""
    values: dict[str, Value] = {name: Literal(value) for name, value in plain(known).items()}
    change = substituting(values)
    return with_blocks(graph, changed_blocks(graph.blocks, change), change) if values else graph
