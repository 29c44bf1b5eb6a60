"""Runs graphs on one device, in one precision."""

import time
from typing import Any

from graph import Graph, bind, prune

from .evaluate import evaluate
from .events import Event, Listen, RunFinished, RunStarted
from .place import choose_device, choose_dtype
from .plan import share_equal_calls


def _nobody(event: Event) -> None:
    """Listen to nothing."""


class Session:
    """A machine to run graphs on: `Session(device="cpu")(load("sd15"), prompt="a lighthouse")`.

    `auto` takes the fastest device, and the fastest precision of the networks that is sound on it;
    the sample itself always stays float32. `listen` is told of every event of every run.
    """

    def __init__(self, device: str = "auto", dtype: str = "auto", listen: Listen = _nobody) -> None:
        self.device = choose_device(device)
        self.dtype = choose_dtype(dtype, self.device)
        self.listen = listen

    def __call__(self, graph: Graph, /, **inputs: Any) -> dict[str, Any]:
        """Run a graph and give its outputs by name.

        Raises GraphError where an input is unknown, missing or of the wrong type, and RunError
        where a node fails.
        """
        values = bind(graph, inputs)
        plan = share_equal_calls(prune(graph))
        machine = {"device": self.device, "dtype": self.dtype}
        begin = time.perf_counter()
        self.listen(
            RunStarted(graph.name, str(self.device), str(self.dtype).removeprefix("torch."))
        )
        outputs = evaluate(plan, values, machine, self.listen)
        self.listen(RunFinished(time.perf_counter() - begin))
        return outputs
