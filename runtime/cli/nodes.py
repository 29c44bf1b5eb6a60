"""`run-graph nodes`: the node types."""

import argparse

from ..describe import describe_node, list_nodes
from .shared import OK, open_packs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take the name of one node type, or none."""
    parser.add_argument("name", nargs="?", metavar="NAME")


def run(given: argparse.Namespace) -> int:
    """Print one node type, or the list."""
    if not given.name:
        open_packs()
    print(describe_node(given.name) if given.name else list_nodes())
    return OK
