"""Workers that are actors of a Ray cluster, each with a GPU if there are any, else with a CPU."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from typing import Any, cast

from .tasks import Said, Task
from .threads import ThreadWorker
from .worker import Prepare, Worker, WorkerDied


def connect(address: str) -> tuple[int, Callable[[Prepare, int], Worker]]:
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
    # One call waits for what the thread in the actor says, another may cancel meanwhile.
    actor_class = ray.remote(max_concurrency=2, **options)(ThreadWorker)

    def start(prepare: Prepare, number: int) -> Worker:
        return RayWorker(ray, actor_class.remote(prepare, number))

    return int(resources[unit]), start


def wait_for_actors(workers: Sequence[Worker]) -> Sequence[Worker]:
    """Wait until some actors have something to say, or died."""
    actors = cast("Sequence[RayWorker]", workers)
    ready, _ = actors[0].ray.wait([actor.said for actor in actors])
    return [actor for actor in actors if actor.said in ready]


class RayWorker:
    """An actor that runs tasks; that its machine is lost shows when it should say something."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self.ray = ray
        self.actor = actor
        self.said: Any = actor.receive.remote()

    def send(self, tasks: Sequence[Task]) -> None:
        """Begin tasks."""
        self.actor.send.remote(tasks)

    def receive(self) -> Said:
        """Wait for what the actor says next; raises WorkerDied, also if its machine is lost."""
        try:
            said = cast("Said", self.ray.get(self.said))
        except self.ray.exceptions.RayTaskError as error:
            raise WorkerDied(str(error.cause)) from error
        except self.ray.exceptions.RayError as error:
            raise WorkerDied(f"a Ray actor died: {error}") from error
        self.said = self.actor.receive.remote()
        return said

    def cancel(self, id: str) -> None:
        """Ask for the end of a task."""
        self.actor.cancel.remote(id)

    def stop(self) -> None:
        """End the actor, whatever it does."""
        self.ray.kill(self.actor)
