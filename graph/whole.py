"""Files that are there whole or not at all, whoever reads them and whatever ends the writer."""

import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path

_numbers = itertools.count()


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file or folder beside `path`, then rename it; raises OSError.

    Folders above are made; what `write` is given ends as `path` does, and begins with a dot.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_stem(f".{path.stem}.{os.getpid()}.{next(_numbers)}.part")
    try:
        write(part)
        os.replace(part, path)
    except BaseException:
        shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)
        raise
