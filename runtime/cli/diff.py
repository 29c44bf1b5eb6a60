"""`run-graph diff`: what differs between two pictures, or two graphs, by meaning."""

import argparse
from pathlib import Path

from graph import load

from ..provenance.compare import Recorded, changes, drift, wiring
from ..provenance.replay import recorded_graph
from .replay import picture_record
from .shared import FAILED, OK


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take two pictures, or graphs."""
    parser.add_argument("one", metavar="A")
    parser.add_argument("other", metavar="B")


def run(given: argparse.Namespace) -> int:
    """Print a line for everything that differs; the exit code is 0 where nothing does."""
    differing = False
    sides = [_side(name) for name in (given.one, given.other)]
    for title, lines in _sections(*sides):
        if lines:
            differing = True
            print(title)
            print("\n".join(f"  {line}" for line in lines))
    if not differing:
        print("they are the same")
    return FAILED if differing else OK


def _side(name: str) -> Recorded:
    """Read the record of a picture; a graph is one that was not run yet."""
    path = Path(name)
    if path.is_file() and path.suffix not in (".yaml", ""):
        return picture_record(path)
    graph = load(name)
    inputs = {key: entry.default for key, entry in graph.inputs.items()}
    return Recorded(format=1, graph=list(graph.files), inputs=inputs)


def _sections(one: Recorded, other: Recorded) -> list[tuple[str, list[str]]]:
    wires = [wiring(recorded_graph(side)) for side in (one, other)]
    sections = [
        ("inputs", changes(one.inputs, other.inputs)),
        ("graph", changes(wires[0], wires[1])),
    ]
    if one.pixels and other.pixels:
        sections.append(("what it was made with", drift(one, other)))
        pixels = "they are not the same" if one.pixels != other.pixels else ""
        sections.append(("pixels", [pixels] if pixels else []))
    return sections
