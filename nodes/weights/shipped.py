"""The checkpoints that come with run-graph."""

from importlib.resources import files
from pathlib import Path


def shipped_checkpoints() -> list[str]:
    """List their names."""
    return sorted(path.name for path in shipped_folder().iterdir() if path.is_dir())


def shipped_folder() -> Path:
    """The folder that they are in."""
    return Path(str(files("graphs"))) / "checkpoints"
