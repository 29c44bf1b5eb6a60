"""Files that a run leaves behind."""

import os
from collections.abc import Callable
from pathlib import Path


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file beside `path`, then rename it: it appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_stem(f".{path.stem}.part")
    write(part)
    os.replace(part, path)
