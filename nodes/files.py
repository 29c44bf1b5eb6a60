"""Files that a run leaves behind."""

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import mkdtemp

from graph import write_whole


def file_at(path: str) -> list[Path]:
    """List the one file that a node reads."""
    return [Path(path).expanduser()]


def save_whole(files: Mapping[Path, Callable[[Path], object]]) -> None:
    """Write files that were long in the making: each whole, and if not there, then somewhere.

    Raises OSError, which says where, for those that had to go elsewhere.
    """
    saved: list[Path] = []
    refused: OSError | None = None
    for path, write in files.items():
        try:
            write_whole(path, write)
        except OSError as error:
            folder = saved[0].parent if saved else Path(mkdtemp(prefix="run-graph-"))
            saved.append(folder / path.name)
            write_whole(saved[-1], write)
            refused = refused or error
    if refused:
        where = ", ".join(map(str, saved))
        raise OSError(f"{refused}; what was made is in {where}") from refused
