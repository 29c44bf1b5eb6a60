"""A run whose files come back as bytes, so that they can travel."""

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graph import Graph, GraphError, written_inputs

from ..errors import RunError
from ..session import Session
from .rows import Row
from .spread import Outcome


def run_row(session: Session, graph: Graph, row: Row) -> Outcome:
    """Run a row of a sweep; a failure is an outcome, too."""
    begin = time.perf_counter()
    try:
        files, error = run_files(session, graph, row.inputs), ""
    except (GraphError, RunError, MemoryError) as failure:
        files, error = {}, str(failure) or type(failure).__name__
    return Outcome(row, files, time.perf_counter() - begin, error)


def run_files(session: Session, graph: Graph, inputs: Mapping[str, Any]) -> dict[str, bytes]:
    """Run a graph and give the files that it writes, by the names that it would give them."""
    names = {name: graph.inputs[name].default or f"{name}.png" for name in written_inputs(graph)}
    with tempfile.TemporaryDirectory(prefix="run-graph-") as folder:
        paths = {name: str(Path(folder) / Path(path).name) for name, path in names.items()}
        session(graph, **inputs, **paths)
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}
