"""`run-graph new`: a graph of one's own, to begin with."""

import argparse
from pathlib import Path

from graph import Finding, GraphError, did_you_mean, load, shipped_graphs

from .schema import schema_text
from .shared import OK, write_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take the name of the new graph, and of the one to begin from."""
    option = parser.add_argument
    option("name", metavar="NAME", help="what it is called: NAME.yaml is written")
    option("--from", dest="origin", default="sd15", metavar="GRAPH",
           help="the graph that it is a copy of (default: %(default)s)")  # fmt: skip


def run(given: argparse.Namespace) -> int:
    """Write a copy of a shipped graph, and beside it the schema that the editor completes from."""
    names = list(shipped_graphs())
    if given.origin not in names:
        message = f"there is no shipped graph '{given.origin}'"
        help = did_you_mean(given.origin, names) or f"there are {', '.join(names)}"
        raise GraphError([Finding(None, message, help)])
    target = Path(given.name).with_suffix(".yaml")
    if target.exists():
        raise GraphError([Finding(None, f"{target} is there already", "take another name")])
    write_text(target, load(given.origin).source)
    schema = target.with_name("graph.schema.json")
    write_text(schema, schema_text())
    print(f"wrote {target}, and {schema} for your editor")
    print(f"run-graph check {target}    # then edit it, and check again")
    return OK
