"""Files that a run leaves behind."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path


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
