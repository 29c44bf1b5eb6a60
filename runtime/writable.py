"""Whether what a run makes can be saved: asked before it is made."""

import os
from pathlib import Path

from graph import Graph, Literal, written_values

from .errors import RunError


def refuse_unwritable(plan: Graph) -> None:
    """Raise RunError for an effect that would write to where nobody may write, or no folder is."""
    for call, port, value in written_values(plan.blocks):
        if not isinstance(value, Literal):
            continue
        file = Path(str(value.value)).expanduser().absolute()
        folder = next(parent for parent in file.parents if parent.exists())
        why = None if folder.is_dir() else "is no folder"
        if why is None and not os.access(folder, os.W_OK):
            why = "may not be written to"
        if why is None and file.is_dir():
            folder, why = file, "is a folder"
        if why:
            message = f"'{call.name}' cannot write its `{port}` '{value.value}': {folder} {why}"
            raise RunError(value.place or call.place, message)
