"""Load a graph: read it, check it, or say everything that is wrong with it."""

from __future__ import annotations

from pathlib import Path

from .blocks import Graph
from .check import check
from .files import find_graph, read_graph
from .node import Registry, registry
from .spec import parse
from .text import read


def load(path: str | Path, registry: Registry = registry) -> Graph:
    """Load a graph by its path or shipped name; raises GraphError with every finding."""
    found = find_graph(path)
    text, parsed = read_graph(found)
    return check(parsed, found.stem, found, text, registry)


def load_text(text: str, name: str = "graph", registry: Registry = registry) -> Graph:
    """Load a graph from its text; raises GraphError with every finding."""
    return check(parse(read(text, name)), name, None, text, registry)
