"""`run-graph nodes`: the node types."""

import argparse

from graph import node_types

from ..describe import describe_node, find_nodes, list_nodes
from .shared import OK, open_packs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take the name of one node type, something to look for, or nothing."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="a node type, a kind or a word")


def run(given: argparse.Namespace) -> int:
    """Print one node type, those that give or take a kind or speak of a word, or the list."""
    if given.name and (found := node_types().get(given.name)):
        print(describe_node(found))
        return OK
    open_packs()
    print(find_nodes(given.name) if given.name else list_nodes())
    return OK
