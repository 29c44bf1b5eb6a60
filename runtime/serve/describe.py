"""What a server says of itself: OpenAPI, numbers for Prometheus, a page for people."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any

from ..sweep import script_data
from .queue import Queue
from .served import Served


def describe_openapi(graphs: Mapping[str, Served]) -> dict[str, Any]:
    """Describe the endpoints in OpenAPI 3.1."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "run-graph", "version": "1"},
        "paths": {
            f"/graphs/{name}": {"post": _operation(served)} for name, served in graphs.items()
        },
    }


def _operation(served: Served) -> dict[str, Any]:
    def answer(words: str, kind: str = "application/json") -> dict[str, Any]:
        return {"description": words, "content": {kind: {}}}

    return {
        "operationId": served.graph.name.replace("-", "_"),
        "summary": served.graph.doc.split("\n")[0],
        "description": served.graph.doc,
        "requestBody": {
            "required": bool(served.schema()["required"]),
            "content": {"application/json": {"schema": served.schema()}},
        },
        "responses": {
            "200": answer("the picture; JSON where it is accepted, or there are several", "*/*"),
            "202": answer("with Prefer: respond-async: where to look for the run"),
            "400": answer("the body is no JSON object"),
            "401": answer("the token is missing or wrong"),
            "403": answer("called from another site"),
            "413": answer("the body is too large"),
            "422": answer("inputs that the graph does not take, each with what would help"),
            "500": answer("the graph broke: a mistake in it, or of the server"),
            "503": answer("no worker can be started"),
            "429": answer("too many runs wait: Retry-After says how long to wait"),
        },
    }


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
