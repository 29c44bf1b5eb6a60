"""What workers need to run graphs, on this machine or on another, and where they are."""

import argparse
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from graph import Graph, GraphText, load_bundle, node_types

from ..content.versions import code_of, library_versions
from ..provenance.lock import pinned
from ..session import Session
from ..workers import Runner, Wait, Worker
from .shared import prepare, wrong


@dataclass(frozen=True)
class Job:
    """Graphs that are to run elsewhere, the files of their nodes, and the machine to take.

    `nodes` are paths; where another machine may not have them, `contents` has what is in them.
    `watched` runs tell of their steps, and can be cancelled. `commits` are those that a lock pins.
    Workers that share a processor are told how many `threads` to take; 0 = as many as there are.
    """

    graphs: Mapping[str, tuple[GraphText, ...]]
    nodes: tuple[str, ...]
    device: str
    dtype: str
    memory: str
    compile: bool
    offline: bool
    watched: bool
    versions: dict[str, str]
    commits: Mapping[str, str]
    threads: int = 0
    contents: tuple[bytes, ...] = ()

    def __call__(self, number: int) -> Runner:
        """Become a worker: register the nodes, load the graphs, open a session.

        Raises RuntimeError where the versions differ.
        """
        if (here := versions()) != self.versions:
            raise RuntimeError(f"this worker has {here}, its tasks come from {self.versions}")
        if self.threads:
            torch.set_num_threads(self.threads)
        if self.contents:
            self._register_contents()
        else:
            prepare(argparse.Namespace(nodes=self.nodes, offline=self.offline))
        graphs = {
            name: pinned(load_bundle(files), self.commits) for name, files in self.graphs.items()
        }
        return Runner(self.session(number), graphs, self.watched)

    def session(self, number: int) -> Session:
        """Open the session of a worker; where there are several GPUs, workers take them in turn."""
        device = _share(self.device, number)
        return Session(device, self.dtype, memory=self.memory, compile=self.compile)

    def travelling(self) -> "Job":
        """Let the files of nodes travel along; checkpoints and pictures do not."""
        return replace(self, contents=tuple(Path(path).read_bytes() for path in self.nodes))

    def _register_contents(self) -> None:
        """Register the nodes from files that are gone afterwards."""
        with tempfile.TemporaryDirectory(prefix="run-graph-") as folder:
            files = [f"{folder}/{n}-{Path(path).name}" for n, path in enumerate(self.nodes)]
            for file, content in zip(files, self.contents, strict=True):
                Path(file).write_bytes(content)
            prepare(argparse.Namespace(nodes=files, offline=self.offline))
            for node in node_types().values():
                code_of(node)  # reads the file, and remembers


def session_here(job: Job) -> Session:
    """Open the session of a job in this process; raises GraphError where the machine has none."""
    try:
        return job.session(0)
    except ValueError as error:
        raise wrong(error) from error


@dataclass(frozen=True)
class Workers:
    """Workers that can be started: how many there is room for, how, and how to wait for some."""

    count: int
    start: Callable[[int], Worker]
    wait: Wait


def make_job(
    given: argparse.Namespace, graphs: Iterable[Graph], watched: bool, commits: Mapping[str, str]
) -> Job:
    """Describe what workers need."""
    files = {graph.name: graph.files for graph in graphs}
    machine = (given.device, given.dtype, given.memory, given.compile)
    return Job(files, tuple(given.nodes), *machine, given.offline, watched, versions(), commits)


def workers_on(where: str, job: Job) -> Workers:
    """Find the workers that `--on` names; raises GraphError where there are none."""
    if processes := re.fullmatch(r"local:([1-9]\d*)", where):
        from ..workers.processes import ProcessWorker, wait_for_processes

        count = int(processes[1])
        job = replace(job, threads=max(1, torch.get_num_threads() // count))
        return Workers(count, partial(ProcessWorker, job), wait_for_processes)
    if where == "ray" or where.startswith("ray://"):
        from ..workers.ray_actors import connect, wait_for_actors

        try:
            count, start = connect(where)
        except ModuleNotFoundError as error:
            message = "--on ray: Ray is not installed"
            raise wrong(message, "pip install 'run-graph[ray]'") from error
        except ConnectionError as error:
            raise wrong(f"--on {where}: {error}") from error
        return Workers(count, partial(start, job.travelling()), wait_for_actors)
    raise wrong(f"--on: there is no '{where}'", "write local:2, ray or ray://HOST:10001")


def versions() -> dict[str, str]:
    """Name the versions that must be equal in all workers."""
    return {name: library_versions()[name] for name in ("run-graph", "torch")}


def _share(device: str, number: int) -> str:
    several = device == "auto" and torch.cuda.device_count() > 1
    return f"cuda:{number % torch.cuda.device_count()}" if several else device
