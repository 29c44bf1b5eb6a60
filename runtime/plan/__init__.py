"""Passes over a checked graph, each from graph to graph, before anything runs."""

from .share import share_equal_calls

__all__ = ["share_equal_calls"]
