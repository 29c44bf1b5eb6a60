"""One row of a sweep: a run whose files come back as bytes."""

import tempfile
import time
from pathlib import Path

from graph import Graph, GraphError, written_inputs

from ..errors import RunError
from ..session import Session
from .rows import Row
from .spread import Outcome


def run_row(session: Session, graph: Graph, row: Row) -> Outcome:
    """Run a row and read the files that it wrote; a failure is an outcome, too."""
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="run-graph-") as folder:
        try:
            session(graph, **row.inputs, **_files(graph, Path(folder)))
        except (GraphError, RunError, MemoryError) as error:
            message = str(error) or type(error).__name__
            return Outcome(row, {}, time.perf_counter() - begin, message)
        files = {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}
    return Outcome(row, files, time.perf_counter() - begin)


def _files(graph: Graph, folder: Path) -> dict[str, str]:
    """Name the files that a run writes as the graph would; without a name of its own, as PNG."""
    names = {name: graph.inputs[name].default or f"{name}.png" for name in written_inputs(graph)}
    return {name: str(folder / Path(path).name) for name, path in names.items()}
