"""`run-graph bench`: how fast a graph runs here, and what each pass of the plan brings."""

import argparse
import sys

from graph import load, parse_inputs

from ..bench import bench
from ..errors import RunError
from ..session import Session
from .shared import FAILED, OK, wrong


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take a graph and its inputs, where to run it, and how often."""
    option = parser.add_argument
    option("graph", metavar="GRAPH")
    option("inputs", nargs="*", metavar="name=value")
    option("--device", default="auto")
    option("--dtype", default="auto")
    option("--compile", action="store_true")
    option("--runs", type=int, default=3, help="of each kind, after a first one")


def run(given: argparse.Namespace) -> int:
    """Print a table of times."""
    graph = load(given.graph)
    inputs = parse_inputs(graph, given.inputs)
    try:
        session = Session(given.device, given.dtype, cache=None, compile=given.compile)
    except ValueError as error:
        raise wrong(error) from error
    try:
        print(bench(graph, inputs, session, given.runs, _tell))
    except RunError as error:
        print(error, file=sys.stderr)
        return FAILED
    return OK


def _tell(words: str) -> None:
    """Write over the line of a terminal what is being run; nothing into a file."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{words}", end="\r", file=sys.stderr, flush=True)
