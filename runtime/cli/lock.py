"""`run-graph lock`: what a graph is made of, pinned."""

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from graph import Graph, load, parse_inputs

from ..provenance.lock import Lock, deciding_inputs, lock_of, refuse_others
from .shared import OK, write_text, wrong


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take a graph, and the inputs that decide which files it reads."""
    parser.add_argument("graph", metavar="GRAPH")
    parser.add_argument("inputs", nargs="*", metavar="name=value")


def run(given: argparse.Namespace) -> int:
    """Write the lock beside the person who asks, and say what is in it."""
    graph = load(given.graph)
    lock = lock_of(graph, _with_defaults(graph, parse_inputs(graph, given.inputs)))
    file = Path(f"{graph.name}.lock.json")
    write_text(file, lock.model_dump_json(indent=2, exclude_none=True) + "\n")
    count = len({fact.repository for fact in lock.files if fact.repository})
    print(f"{file}: {len(lock.files)} files, {count} repositories; run with --lock {file}")
    return OK


def commits_in(file: Path, graph: Graph, runs: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Hold runs of a graph to a lock, and give the commits that it pins for `pinned`.

    Raises GraphError where one is made of, or would read, anything else.
    """
    try:
        lock = Lock.model_validate_json(file.read_bytes())
    except OSError as error:
        raise wrong(f"--lock: '{file}': {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        message = f"--lock: '{file}' is no lock: {where}: {first['msg']}"
        raise wrong(message, "write it anew: run-graph lock GRAPH") from error
    names = deciding_inputs(graph)
    for inputs in {repr([run.get(name) for name in names]): run for run in runs}.values():
        refuse_others(graph, _with_defaults(graph, inputs), lock)
    return lock.commits


def _with_defaults(graph: Graph, inputs: Mapping[str, Any]) -> dict[str, Any]:
    own = {name: entry.default for name, entry in graph.inputs.items() if not entry.required}
    return own | dict(inputs)
