"""Files that a run leaves behind."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp


def file_at(path: str) -> list[Path]:
    """List the one file that a node reads."""
    return [Path(path).expanduser()]


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file or folder beside `path`, then rename it: whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_stem(f".{path.stem}.{os.getpid()}.part")
    try:
        write(part)
        os.replace(part, path)
    except BaseException:
        shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)
        raise


def save_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file that was long in the making: whole, and if not there, then somewhere.

    Raises OSError, which says where, if it had to go elsewhere.
    """
    try:
        write_whole(path, write)
    except OSError as error:
        refuge = Path(mkdtemp(prefix="run-graph-")) / path.name
        write_whole(refuge, write)
        raise OSError(f"{error}; what was made is in {refuge}") from error
