"""Graphs as HTTP endpoints, behind a bounded queue. Needs the extra `run-graph[serve]`."""

from .app import make_app
from .queue import Queue, QueueFull, Run
from .served import LIMITS, Served, serve_graph

__all__ = ["LIMITS", "Queue", "QueueFull", "Run", "Served", "make_app", "serve_graph"]
