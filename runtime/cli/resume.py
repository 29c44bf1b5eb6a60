"""`run-graph resume`: a run that ended goes on where it stood."""

import argparse
import sys
from pathlib import Path

import torch

from ..checkpoint import Checkpoint, read_run
from ..content.versions import library_versions
from ..plan import ALL
from ..provenance.compare import changes
from ..provenance.replay import recorded_graph
from .execute import execute


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take a checkpoint."""
    parser.add_argument("checkpoint", metavar="FILE", type=Path)


def run(given: argparse.Namespace) -> int:
    """Run the rest on the machine and in the precision that the run began with."""
    record, every = read_run(given.checkpoint)
    threads = record.machine.get("threads")
    if isinstance(threads, int):
        torch.set_num_threads(threads)  # it may change the last bits
    machine = {name: str(record.machine[name]) for name in ("device", "dtype")}
    for line in changes(record.versions, library_versions()):
        print(f"{line}: the last bits may be others", file=sys.stderr)
    plain = {"profile": False, "cache": None, "explain": False, "memory": "auto"}
    settings = argparse.Namespace(**machine, **plain, nodes=given.nodes)
    checkpoint = Checkpoint(given.checkpoint, every, resuming=True)
    passes = [name for name in ALL if name in record.passes]
    savings = record.savings
    return execute(recorded_graph(record), record.inputs, settings, checkpoint, passes, savings)
