"""`run-graph schema`: the format of graph files, for editors."""

import argparse
import json
from pathlib import Path

from graph import graph_schema

from .shared import OK, open_packs, write_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take a file to write to, or none."""
    parser.add_argument("file", nargs="?", metavar="FILE")


def run(given: argparse.Namespace) -> int:
    """Print the JSON Schema, or write it to a file."""
    text = schema_text()
    if given.file:
        write_text(Path(given.file), text)
    else:
        print(text, end="")
    return OK


def schema_text() -> str:
    """Write the JSON Schema of graphs with all node types that there are."""
    open_packs()
    return json.dumps(graph_schema(), indent=1, ensure_ascii=False) + "\n"
