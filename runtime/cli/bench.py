"""`run-graph bench`: how fast a graph runs here, and what each pass of the plan brings."""

import argparse
import sys

from graph import load, parse_inputs

from ..bench import bench
from ..errors import RunError
from ..plan import ALL, MEANING
from ..session import Session
from .shared import FAILED, OK, add_machine_options, wrong


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take a graph and its inputs, where to run it, and how often."""
    option = parser.add_argument
    option("graph", metavar="GRAPH", help="a file, or the name of a graph that comes along")
    option("inputs", nargs="*", metavar="name=value", help="what the runs set")
    option("--runs", type=int, default=3, metavar="N",
           help="how many of each kind, after a first one (default: %(default)s)")  # fmt: skip
    add_machine_options(parser)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "\n".join(
        ["the table has a row for the whole plan, for none, and without each of its passes:",
         *(f"  {name:<10}{MEANING[name]}" for name in ALL)]
    )  # fmt: skip


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
