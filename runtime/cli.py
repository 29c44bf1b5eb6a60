"""The command `run-graph`: the one place that brings the nodes and the runtime together."""

import argparse
import importlib.util
import os
import signal
import sys
from importlib.metadata import version
from pathlib import Path
from types import FrameType

from graph import Finding, Graph, GraphError, load, parse_inputs

from .describe import describe_graph, describe_node, list_nodes
from .errors import RunError
from .events import Event, NodeStarted, StepFinished
from .progress import Progress
from .session import Session

OK, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130
USAGE = """\
usage: run-graph GRAPH [name=value ...]    run a graph with these inputs
       run-graph GRAPH --help              show what a graph does and what it takes
       run-graph nodes [NAME]              list the node types, or describe one
       run-graph schedulers                list the samplers
       run-graph schedulers NAME [name=value ...]
                                           print what a sampler does at every call of the network:
                                           steps=12 model=emoji-64, or a field of its config

GRAPH is a file, or the name of a graph that comes with run-graph.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command and give its exit code: 0 done, 1 failed, 2 wrong input, 130 interrupted."""
    parser = _parser()
    given = parser.parse_intermixed_args(arguments)
    if not given.words:
        print(parser.format_help())
        return OK if given.help else WRONG
    first, *rest = given.words
    if given.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # huggingface_hub reads it when it is imported
    try:
        _import_nodes(given.nodes)
        if first == "nodes":
            print(describe_node(rest[0]) if rest else list_nodes())
            return OK
        if first == "schedulers":
            return _schedulers(rest)
        graph = load(first)
        if given.help:
            print(describe_graph(graph))
            return OK
        return _run(graph, rest, given.device, given.dtype)
    except GraphError as error:
        print(error, file=sys.stderr)
        return WRONG


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "run-graph",
        usage=argparse.SUPPRESS,
        description=USAGE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    option = parser.add_argument_group("options").add_argument
    option("-h", "--help", action="store_true", help="show this, or the help of GRAPH")
    option("--device", default="auto", help="cpu, cuda, cuda:1, mps; auto: the fastest there is")
    option(
        "--dtype", default="auto", help="float32, bfloat16, float16; auto: the fastest sound one"
    )
    option("--nodes", action="append", default=[], metavar="FILE", help="a file of your own nodes")
    option("--offline", action="store_true", help="use only what is on this machine")
    option("--version", action="version", version=f"run-graph {version('run-graph')}")
    return parser


def _import_nodes(files: list[str]) -> None:
    """Register the node types that come with run-graph, and those of the user's own files."""
    import nodes  # noqa: F401  # pyright: ignore[reportUnusedImport]

    for file in files:
        # A name of its own: a file called nodes.py or json.py must not stand in for the real one.
        name = f"own_nodes_{Path(file).stem}"
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None or not Path(file).is_file():
            raise GraphError([Finding(None, f"--nodes: there is no Python file '{file}'")])
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # annotations are looked up there
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            message = f"--nodes: '{file}' cannot be imported: {type(error).__name__}: {error}"
            raise GraphError([Finding(None, message)]) from error


def _schedulers(words: list[str]) -> int:
    from nodes.describe import describe_schedule, list_schedulers

    try:
        print(describe_schedule(*words) if words else list_schedulers())
    except (ValueError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return WRONG
    return OK


def _run(graph: Graph, words: list[str], device: str, dtype: str) -> int:
    inputs = parse_inputs(graph, words)
    progress = Progress(sys.stderr)
    interrupt = _Interrupt()

    def listen(event: Event) -> None:
        progress(event)
        interrupt(event)

    try:
        session = Session(device, dtype, listen)
    except ValueError as error:
        print(error, file=sys.stderr)
        return WRONG
    try:
        outputs = session(graph, **inputs)
    except KeyboardInterrupt:
        print(f"interrupted{interrupt.where}", file=sys.stderr)
        return INTERRUPTED
    except RunError as error:
        print(error, file=sys.stderr)
        return FAILED
    for name, value in outputs.items():
        if isinstance(value, str | int | float):
            print(f"{name}: {value}")
    return OK


class _Interrupt:
    """Ends a run between two nodes at the first Ctrl-C, and at once at the second."""

    def __init__(self) -> None:
        self.asked = False
        self.where = ""
        signal.signal(signal.SIGINT, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def __call__(self, event: Event) -> None:
        if isinstance(event, StepFinished):
            self.where = f" after step {event.index + 1} of {event.steps} of '{event.loop.name}'"
        if self.asked and isinstance(event, NodeStarted | StepFinished):
            raise KeyboardInterrupt


def command() -> None:
    """Be the console script."""
    sys.exit(main())


if __name__ == "__main__":
    command()
