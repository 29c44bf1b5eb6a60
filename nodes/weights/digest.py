"""What a file is, by its content."""

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path


def digest(file: Path) -> str:
    """Give the SHA-256 of a file as hexadecimal text.

    The hub's cache names large files by it; any other file is read once, as long as its size and
    its time of change stay the same.
    """
    real = file.resolve()
    if real.parent.name == "blobs" and re.fullmatch("[0-9a-f]{64}", real.name):
        return real.name
    state = real.stat()
    return _digest(real, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=1024)
def _digest(file: Path, size: int, changed: int) -> str:  # noqa: ARG001 (they are the key)
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_digests(files: Sequence[Path], expected: Sequence[str]) -> None:
    """Compare files, in the order of their names, with what a graph expects them to be.

    Raises ValueError with the first file that is another.
    """
    if len(files) != len(expected):
        raise ValueError(f"`sha256` lists {len(expected)} files, and there are {len(files)}")
    for file, wanted in zip(sorted(files), expected, strict=True):
        found = digest(file)
        if found != wanted.lower():
            raise ValueError(
                f"{file} is not the file that the graph pins: "
                f"expected SHA-256 {wanted}, found {found}"
            )
