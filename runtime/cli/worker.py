"""What a worker needs to run the rows of a sweep, on this machine or on another."""

import argparse
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from graph import Graph, GraphText, load_bundle

from ..content.versions import library_versions
from ..session import Session
from ..sweep import Outcome, Row, run_row
from .shared import prepare


@dataclass(frozen=True)
class Job:
    """A graph that is to run elsewhere, the files of its nodes, and the machine to take.

    `nodes` are paths; where another machine may not have them, `contents` has what is in them.
    """

    graph: tuple[GraphText, ...]
    nodes: tuple[str, ...]
    device: str
    dtype: str
    memory: str
    offline: bool
    versions: dict[str, str]
    contents: tuple[bytes, ...] = ()

    def __call__(self, number: int) -> "Run":
        """Become a worker: register the nodes, load the graph, open a session.

        Raises RuntimeError where the versions differ.
        """
        if (here := versions()) != self.versions:
            raise RuntimeError(f"this worker has {here}, the sweep was started by {self.versions}")
        nodes = list(self.nodes)
        if self.contents:
            folder = Path(tempfile.mkdtemp(prefix="run-graph-"))
            nodes = [str(folder / f"{n}-{Path(path).name}") for n, path in enumerate(nodes)]
            for path, content in zip(nodes, self.contents, strict=True):
                Path(path).write_bytes(content)
        prepare(argparse.Namespace(nodes=nodes, offline=self.offline))
        return Run(self.session(number), load_bundle(self.graph))

    def session(self, number: int) -> Session:
        """Open the session of a worker; where there are several GPUs, workers take them in turn."""
        return Session(_share(self.device, number), self.dtype, memory=self.memory)

    def travelling(self) -> "Job":
        """Let the files of nodes travel along; checkpoints and pictures do not."""
        return replace(self, contents=tuple(Path(path).read_bytes() for path in self.nodes))


@dataclass(frozen=True)
class Run:
    """A worker that is ready: a warm session, and the graph whose rows it runs."""

    session: Session
    graph: Graph

    def __call__(self, row: Row) -> Outcome:
        """Run one row."""
        return run_row(self.session, self.graph, row)


def make_job(given: argparse.Namespace, graph: Graph) -> Job:
    """Describe what a worker needs."""
    machine = (given.device, given.dtype, given.memory, given.offline, versions())
    return Job(graph.files, tuple(given.nodes), *machine)


def versions() -> dict[str, str]:
    """Name the versions that must be equal in all workers."""
    return {name: library_versions()[name] for name in ("run-graph", "torch")}


def _share(device: str, number: int) -> str:
    several = device == "auto" and torch.cuda.device_count() > 1
    return f"cuda:{number % torch.cuda.device_count()}" if several else device
