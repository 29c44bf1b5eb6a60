"""What a worker needs to run the rows of a sweep, on this machine or on another."""

import argparse
import os
import tempfile
from dataclasses import dataclass, replace
from importlib import resources
from importlib.metadata import version
from pathlib import Path

import torch

from graph import Graph, graph_files, load

from ..session import Session
from ..sweep import Outcome, Row, run_row
from .shared import prepare


@dataclass(frozen=True)
class Job:
    """A graph that is to run elsewhere, its nodes, and the machine to take.

    `graph` and `nodes` are as the command was given them, or paths among `files`, which then
    travel along.
    """

    graph: str
    nodes: tuple[str, ...]
    device: str
    dtype: str
    offline: bool
    versions: dict[str, str]
    files: dict[str, bytes]

    def __call__(self, number: int) -> "Run":
        """Become a worker: register the nodes, load the graph, open a session.

        Where there are several GPUs, workers take them in turn.
        """
        if (here := versions()) != self.versions:
            raise RuntimeError(f"this worker has {here}, the sweep was started by {self.versions}")
        folder = Path(tempfile.mkdtemp(prefix="run-graph-")) if self.files else Path()
        for name, content in self.files.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        nodes = [str(folder / name) for name in self.nodes]
        prepare(argparse.Namespace(nodes=nodes, offline=self.offline))
        graph = load(folder / self.graph if self.graph in self.files else self.graph)
        return Run(Session(_share(self.device, number), self.dtype), graph)


@dataclass(frozen=True)
class Run:
    """A worker that is ready: a warm session, and the graph whose rows it runs."""

    session: Session
    graph: Graph

    def __call__(self, row: Row) -> Outcome:
        """Run one row."""
        return run_row(self.session, self.graph, row)


def make_job(given: argparse.Namespace) -> Job:
    """Describe what a worker of this machine needs."""
    machine = (given.device, given.dtype, given.offline, versions())
    return Job(given.words[0], tuple(given.nodes), *machine, {})


def with_files(job: Job, graph: Graph) -> Job:
    """Let the files of a graph and of its nodes travel along; checkpoints and pictures do not."""
    shipped = Path(str(resources.files("graphs"))).resolve()
    found = {path.resolve() for path in graph_files(graph)}
    own = {path for path in found if path.parent != shipped}
    root = Path(os.path.commonpath([path.parent for path in own])) if own else Path()
    files = {str(path.relative_to(root)): path.read_bytes() for path in own}
    path = graph.path.resolve() if graph.path else None
    nodes = {f"nodes-{number}/{Path(name).name}": name for number, name in enumerate(job.nodes)}
    files |= {name: Path(node).read_bytes() for name, node in nodes.items()}
    name = str(path.relative_to(root)) if path in own and path else graph.name
    return replace(job, graph=name, nodes=tuple(nodes), files=files)


def versions() -> dict[str, str]:
    """Name the versions that must be equal in all workers."""
    return {name: version(name) for name in ("run-graph", "torch")}


def _share(device: str, number: int) -> str:
    several = device == "auto" and torch.cuda.device_count() > 1
    return f"cuda:{number % torch.cuda.device_count()}" if several else device
