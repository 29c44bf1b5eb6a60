"""Times what the engine itself costs: chains and loops of nodes that do nothing.

    python -m benchmarks.engine

Prints microseconds of processor time a node, medians of several runs: of planning, of a first run
with its planning, of a later one, of one that remembers everything; and of a step of a loop, silent
and with the progress bar of a terminal.
"""

import io
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from graph import Block, Graph, Registry, bind, load_text
from runtime import Session
from runtime.cache.remember import FORGOTTEN
from runtime.plan import make_plan
from runtime.progress import Progress

RUNS = 9
registry = Registry()


@registry.node
def pass_on(value: float, more: float = 1.0) -> float:
    """Give back what came in."""
    return value + more


def chain(length: int) -> Graph:
    """Give a graph of so many nodes, each fed by the one before."""
    nodes = ["  x0: {node: pass_on, value: 0}"]
    nodes += [f"  x{i}: {{node: pass_on, value: $x{i - 1}, more: 2}}" for i in range(1, length)]
    return _load("\n".join(["nodes:", *nodes, f"outputs: {{x: $x{length - 1}}}"]))


def loop(steps: int, length: int) -> Graph:
    """Give a graph with a loop of so many steps, each a chain of so many nodes."""
    nodes = ["      x0: {node: pass_on, value: $sum, more: $item}"]
    nodes += [
        f"      x{i}: {{node: pass_on, value: $x{i - 1}, more: $item}}" for i in range(1, length)
    ]
    head = [
        "nodes:", "  loop:", f"    for: {{item: {list(range(steps))}}}",
        f"    carry: {{sum: {{from: 0, then: $x{length - 1}}}}}", "    nodes:",
    ]  # fmt: skip
    return _load("\n".join([*head, *nodes, "outputs: {x: $loop.sum}"]))


class Everything(dict[str, Any]):
    """Remembers the value of every block."""

    def recall(self, block: Block) -> Any:
        """Give the value of a block."""
        return self.get(block.name, FORGOTTEN)

    def keep(self, block: Block, value: Any) -> None:
        """Keep the value of a block."""
        self[block.name] = value


class Terminal(io.StringIO):
    """Takes what a terminal would be written."""

    def isatty(self) -> bool:
        """Say that it is one."""
        return True


def microseconds(run: Callable[[], object], count: int) -> float:
    """Time a run, for each of so many things in it."""
    run()
    times: list[float] = []
    for _ in range(RUNS):
        begin = time.process_time()
        run()
        times.append(time.process_time() - begin)
    return 1e6 * statistics.median(times) / count


def time_chain(length: int) -> None:
    """Print the line of a chain."""
    graph, known = chain(length), Everything()
    runs = [
        partial(make_plan, graph, bind(graph, {})),
        partial(unplanned, graph),
        partial(Session("cpu", "float32", cache=None), graph),
        partial(Session("cpu", "float32", cache=lambda *_: known), graph),
    ]
    times = [microseconds(run, length) for run in runs]
    print(f"chain of {length:<5}{times[0]:12.1f}{times[1]:12.1f}{times[2]:12.1f}{times[3]:12.1f}")


def unplanned(graph: Graph) -> None:
    """Run a graph in a session that has not seen it."""
    Session("cpu", "float32", cache=None)(graph)


def time_loop(steps: int) -> None:
    """Print the line of a loop."""
    graph = loop(steps, 4)
    listeners = (None, Progress(Terminal()))
    runs = [
        partial(Session("cpu", "float32", listener, cache=None), graph) for listener in listeners
    ]
    times = [microseconds(run, steps) for run in runs]
    print(f"{steps:>5} steps of 4 nodes {times[0]:12.1f}{times[1]:14.1f}")


def main() -> None:
    """Print a line for every length."""
    print("microseconds a node  planning   first run   later run  remembered")
    for length in (10, 100, 1000):
        time_chain(length)
    print("\nmicroseconds a step        silent    with a bar")
    for steps in (10, 100, 1000):
        time_loop(steps)


def _load(text: str) -> Graph:
    return load_text(text, "chain", registry)


if __name__ == "__main__":
    main()
