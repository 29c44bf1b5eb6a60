"""Workers that are actors of a Ray cluster, each with a GPU if there are any, else with a CPU."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from typing import Any, cast

from .rows import Row
from .spread import Outcome, Worker, WorkerDied

Run = Callable[[Row], Outcome]


def connect(address: str) -> tuple[int, Callable[[Callable[[int], Run], int], Worker]]:
    """Connect to a cluster, and give the number of workers that it has room for, and their maker.

    `ray` is the cluster that RAY_ADDRESS names, or else one of this machine that ends with this
    process; `ray://HOST:10001` is one elsewhere. Raises ConnectionError if it does not answer, and
    ModuleNotFoundError if Ray is not installed.
    """
    ray: Any = importlib.import_module("ray")  # an extra, without types
    # Without an address, Ray follows the trace of whichever cluster ran here last.
    where = os.environ.get("RAY_ADDRESS", "local") if address == "ray" else address
    ray.init(address=where, log_to_driver=False, logging_level="ERROR")
    resources: dict[str, float] = ray.cluster_resources()
    unit = "GPU" if resources.get("GPU") else "CPU"
    options = {"num_gpus": 1} if unit == "GPU" else {"num_cpus": 1}
    actor_class = ray.remote(**options)(_Actor)

    def start(prepare: Callable[[int], Run], number: int) -> Worker:
        return RayWorker(ray, actor_class.remote(prepare, number))

    return int(resources[unit]), start


def wait_for_actors(workers: Sequence[Worker]) -> Sequence[Worker]:
    """Wait until some actors have something to say, or died."""
    actors = cast("Sequence[RayWorker]", workers)
    ready, _ = actors[0].ray.wait([actor.said for actor in actors])
    return [actor for actor in actors if actor.said in ready]


class RayWorker:
    """An actor that runs rows; that its machine is lost shows when it should say something."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self.ray = ray
        self.actor = actor
        self.said: Any = actor.is_ready.remote()

    def send(self, row: Row) -> None:
        """Begin a row."""
        self.said = self.actor.run.remote(row)

    def receive(self) -> Outcome | None:
        """Take what the actor has to say; raises WorkerDied, also if its machine is lost."""
        try:
            return cast("Outcome | None", self.ray.get(self.said))
        except self.ray.exceptions.RayError as error:
            raise WorkerDied(f"a Ray actor of the sweep died: {error}") from error

    def stop(self) -> None:
        """End the actor, whatever it does."""
        self.ray.kill(self.actor)


class _Actor:
    """Holds a warm session between rows."""

    def __init__(self, prepare: Callable[[int], Run], number: int) -> None:
        self._run = prepare(number)

    def is_ready(self) -> None:
        """Answer once it is made."""

    def run(self, row: Row) -> Outcome:
        """Run a row."""
        return self._run(row)
