"""What a server says of itself: numbers for Prometheus, a page for people."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources

from ..sweep import script_data
from .queue import Queue
from .served import Served


def describe_metrics(queue: Queue) -> str:
    """Count in the text format of Prometheus."""
    lines = [
        "# HELP run_graph_queue_length Runs that wait.",
        "# TYPE run_graph_queue_length gauge",
        f"run_graph_queue_length {len(queue)}",
        "# HELP run_graph_running Runs that are being worked at.",
        "# TYPE run_graph_running gauge",
        f"run_graph_running {queue.running}",
        "# HELP run_graph_workers Workers that are ready.",
        "# TYPE run_graph_workers gauge",
        f"run_graph_workers {len(queue.ready)}",
        "# HELP run_graph_runs_total Runs that ended, by graph and outcome.",
        "# TYPE run_graph_runs_total counter",
    ]
    lines += [
        f'run_graph_runs_total{{graph="{graph}",status="{status}"}} {count}'
        for (graph, status), count in sorted(queue.ended.items())
    ]
    lines += [
        "# HELP run_graph_seconds_total Time spent on runs, by graph.",
        "# TYPE run_graph_seconds_total counter",
    ]
    lines += [
        f'run_graph_seconds_total{{graph="{graph}"}} {seconds:.3f}'
        for graph, seconds in sorted(queue.seconds.items())
    ]
    return "\n".join(lines) + "\n"


def describe_page(graphs: Mapping[str, Served]) -> str:
    """Write a page with a form for each graph."""
    data = {
        name: {
            "doc": served.graph.doc,
            "schema": served.schema(),
            "defaults": {key: served.graph.inputs[key].default for key in served.open},
        }
        for name, served in graphs.items()
    }
    page = resources.files("runtime.serve").joinpath("page.html").read_text(encoding="utf-8")
    return page.replace("{data}", script_data(data))
