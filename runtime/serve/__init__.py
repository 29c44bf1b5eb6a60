"""Graphs as HTTP endpoints, behind a bounded queue. Needs the extra `run-graph[serve]`."""

from .app import make_app
from .queue import NoWorkers, Queue, QueueFull, Run
from .served import LIMITS, Served, serve_graph

__all__ = ["LIMITS", "NoWorkers", "Queue", "QueueFull", "Run", "Served", "make_app", "serve_graph"]
