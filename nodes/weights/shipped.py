"""The checkpoints that come with run-graph."""

import difflib
from importlib.resources import files
from pathlib import Path


def shipped_checkpoints() -> list[str]:
    """List their names."""
    return sorted(path.name for path in shipped_folder().iterdir() if path.is_dir())


def shipped_folder() -> Path:
    """The folder that they are in."""
    return Path(str(files("graphs"))) / "checkpoints"


def nearest_shipped(name: str) -> str | None:
    """Find the shipped checkpoint that is most like a name; None where none is near."""
    # A repository has its owner before a slash, and is no slip of the pen.
    near = [] if "/" in name else difflib.get_close_matches(name, shipped_checkpoints(), n=1)
    return next(iter(near), None)
