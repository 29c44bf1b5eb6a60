"""The command `run-graph`: the one place that brings the nodes and the runtime together."""

import argparse
import gc
import json
import sys
from importlib import import_module
from importlib.metadata import version
from typing import Protocol, cast

from graph import Finding, GraphError, find_graph, nearest, shipped_graphs

from .shared import OK, WRONG, add_shared_options, findings_as_data, prepare, print_findings

# What the first word may be, besides a graph: a module of this folder, and its line in the help.
VERBS = {
    "check": ("GRAPH [name=value ...] [--cost]", "check names, types and shapes; loads no weights"),
    "bench": ("GRAPH [name=value ...] [--runs N]", "time a graph, and what planning it brings"),
    "show": ("GRAPH [name=value ...]", "draw a graph: here, or as --mermaid, --svg, --html FILE"),
    "new": ("NAME [--from GRAPH]", "begin a graph of your own from one that comes along"),
    "schema": ("[FILE]", "write the format of graph files as a JSON Schema, for editors"),
    "replay": (
        "PICTURE [name=value ...] [--to FILE]",
        "make a picture again, or say what drifted; or a variation",
    ),
    "diff": ("A B", "say what differs between two pictures, or two graphs, by meaning"),
    "lock": ("GRAPH [name=value ...]", "write down a graph and all that it reads, for --lock"),
    "resume": ("FILE", "go on with a run that was ended, from its checkpoint"),
    "inspect": ("CHECKPOINT [--json]", "say what a checkpoint is, without loading it"),
    "convert": ("IN OUT [--dtype DTYPE]", "write a checkpoint as a folder or as a single file"),
    "serve": ("GRAPH [name=value ...]", "graphs as HTTP endpoints; what is set here is fixed"),
    "nodes": ("[NAME]", "list the node types and kinds, describe one, or find what gives it"),
    "schedulers": ("[NAME] [name=value ...]", "list the samplers, or print the rows of one"),
}
USAGE = """\
usage: run-graph GRAPH [name=value ...]    run a graph with these inputs
       run-graph GRAPH --help              show what a graph does and what it takes

GRAPH is a file, or the name of a graph that comes with run-graph. Inputs that take text or a list,
as prompts do, take the list as JSON, one for each picture: prompt='["a fox", "a lion"]' count=2

       --device DEVICE  cpu, cuda, cuda:1, mps; auto: the fastest there is
       --dtype DTYPE    float32, bfloat16, float16; auto: the fastest sound one
       --compile        let PyTorch compile the networks that loops call, once for this machine
       --memory SIZE    what weights and tensors may take, as 6GB; auto: what the device has
       --profile        where the time went: a table, and a trace for ui.perfetto.dev
       --cache DIR      keep results there, and make nothing again that is there
       --explain        say of every block why it ran or did not
       --checkpoint-every STEPS  write to GRAPH.checkpoint where a loop stands
       --lock FILE      refuse a graph or a file other than `run-graph lock` has
       --nodes FILE     a file of your own nodes, as often as you like
       --offline        use only what is on this machine
       --version        print the version

       --sweep TABLE    run it for every line of a .csv or .jsonl file, whose columns are inputs
       --grid NAME=VALUES ...   and for every combination: steps=10,20 seed=0..99
       --out FOLDER     where the results of many runs go, NAME-sweep if not given
       --on WHERE       local:2 (processes), ray or ray://HOST:10001; a GPU for each worker
       --shard i/n      only this part of the rows

Instead of a graph:

{verbs}

run-graph VERB --help tells more. Exit codes: 0 done, 1 failed, 2 wrong input, 3 some rows of a
sweep failed, 130 interrupted.
"""


class Verb(Protocol):
    """What a module of this folder has if it is a verb."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Say what the verb takes."""
        ...

    def run(self, given: argparse.Namespace) -> int:
        """Do it and give the exit code."""
        ...


def main(arguments: list[str] | None = None) -> int:
    """Run the command and give its exit code, as the usage tells them."""
    words = sys.argv[1:] if arguments is None else arguments
    if not words or words[0] in ("-h", "--help", "help"):
        print(_usage())
        return OK if words else WRONG
    if words == ["--version"]:
        print(f"run-graph {version('run-graph')}")
        return OK
    if wrong := _misspelt(words[0]):
        print_findings([wrong], sys.stderr)
        return WRONG
    name = words[0] if words[0] in VERBS else "run"
    verb = cast("Verb", import_module(f".{name}", __package__))
    parser = _parser(name)
    verb.add_arguments(parser)
    add_shared_options(parser)
    given = parser.parse_intermixed_args(words[1:] if name in VERBS else words)
    try:
        prepare(given)
        if not gc.isenabled():  # what was imported stays: garbage is in what the run makes
            gc.freeze()
            gc.enable()
        return verb.run(given)
    except GraphError as error:
        if getattr(given, "json", False):
            print(json.dumps({"findings": findings_as_data(error.findings)}, indent=2))
        else:
            print_findings(error.findings, sys.stderr)
        return WRONG


def _misspelt(word: str) -> Finding | None:
    """Say which verb a word may mean that is neither a verb, nor an option, nor a graph."""
    near = nearest(word, [*VERBS, *shipped_graphs()])
    if word in VERBS or near not in VERBS:
        return None
    try:
        find_graph(word)
    except GraphError:
        message = f"there is no graph and no verb '{word}'"
        return Finding(None, message, f"did you mean 'run-graph {near}'?")
    return None


def _parser(name: str) -> argparse.ArgumentParser:
    if name == "run":  # its help is that of the graph
        return argparse.ArgumentParser(
            "run-graph",
            usage="run-graph GRAPH [name=value ...]",
            add_help=False,
            allow_abbrev=False,
        )
    words, summary = VERBS[name]
    sentence = f"{summary[0].upper()}{summary[1:]}."
    return argparse.ArgumentParser(
        f"run-graph {name}",
        usage=f"run-graph {name} {words}",
        description=sentence,
        allow_abbrev=False,
    )


def _usage() -> str:
    calls = {f"run-graph {name} {words}": line for name, (words, line) in VERBS.items()}
    width = max(len(call) for call in calls)
    return USAGE.format(
        verbs="\n".join(f"       {call:<{width}}  {line}" for call, line in calls.items())
    )


def command() -> None:
    """Be the console script; no garbage is looked for before all is imported."""
    gc.disable()
    sys.exit(main())
