"""Many runs of one graph: rows of a table, spread over workers, each result exactly once."""

from .folder import SweepFolder
from .page import script_data
from .rows import Row, in_order_of_cost, read_rows, shard, varied
from .spread import Outcome, Worker, WorkerDied, spread
from .work import run_files, run_row

__all__ = [
    "Outcome",
    "Row",
    "SweepFolder",
    "Worker",
    "WorkerDied",
    "in_order_of_cost",
    "read_rows",
    "run_files",
    "run_row",
    "script_data",
    "shard",
    "spread",
    "varied",
]
