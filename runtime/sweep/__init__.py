"""Many runs of one graph: rows of a table, spread over workers, each result exactly once."""

from .folder import SweepFolder
from .page import script_data
from .rows import Row, in_order_of_cost, read_rows, shard, varied
from .spread import spread

__all__ = [
    "Row",
    "SweepFolder",
    "in_order_of_cost",
    "read_rows",
    "script_data",
    "shard",
    "spread",
    "varied",
]
