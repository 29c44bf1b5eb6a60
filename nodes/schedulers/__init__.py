"""The arithmetic of time: noise levels, grids, and samplers as tables. Knows no network."""

from .config import SCHEDULERS, Scheduler, plain_name, resolve
from .step import Clipping, Row, estimate_clean, step
from .table import Table, make_table

__all__ = [
    "SCHEDULERS",
    "Clipping",
    "Row",
    "Scheduler",
    "Table",
    "estimate_clean",
    "make_table",
    "plain_name",
    "resolve",
    "step",
]
