"""`run-graph GRAPH`: run a graph, or show what it takes."""

import argparse
from pathlib import Path

from graph import Finding, GraphError, load, parse_inputs

from ..checkpoint import Checkpoint
from ..describe import describe_graph
from ..plan import ALL, PASSES
from ..provenance.lock import pinned
from . import sweep
from .execute import execute
from .lock import commits_in
from .shared import OK, add_machine_options, wrong


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take a graph and its inputs, and where to run it."""
    option = parser.add_argument
    option("words", nargs="*", metavar="GRAPH [name=value ...]")
    option("-h", "--help", action="store_true")
    add_machine_options(parser)
    option("--memory", default="auto", metavar="SIZE")
    option("--profile", action="store_true")
    option("--cache", type=Path, metavar="DIR")
    option("--explain", action="store_true")
    option("--lock", type=Path, metavar="FILE")
    option("--checkpoint-every", type=int, metavar="STEPS")
    sweep.add_arguments(parser)


def run(given: argparse.Namespace) -> int:
    """Run the graph with a progress bar, or print its help."""
    if not given.words:
        raise GraphError(
            [Finding(None, "no graph is given: write run-graph GRAPH [name=value ...]")]
        )
    graph = load(given.words[0])
    if given.help:
        print(describe_graph(graph))
        return OK
    inputs = parse_inputs(graph, given.words[1:])
    if given.sweep or given.grid:
        for name in ("profile", "cache", "explain", "checkpoint_every"):
            if getattr(given, name):
                option = name.replace("_", "-")
                raise wrong(f"--{option} is for one run, and --sweep and --grid make many")
        return sweep.run(given, graph, inputs)
    if given.lock:
        graph = pinned(graph, commits_in(given.lock, graph, [inputs]))
    checkpoint = None
    if given.checkpoint_every is not None:
        if given.checkpoint_every < 1:
            raise wrong(
                f"--checkpoint-every: after {given.checkpoint_every} steps there is nothing"
            )
        checkpoint = Checkpoint(Path(f"{graph.name}.checkpoint"), given.checkpoint_every)
    passes = ALL if given.compile else PASSES
    return execute(graph, inputs, given, checkpoint, passes)
