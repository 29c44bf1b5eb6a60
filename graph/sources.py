"""The files that a value came from, so that a run can tell, and check, what it was made of.

A loader says it of the value that it gives: `came_from(network, *files)`. Whoever holds the value
asks `sources_of(value)`, and need not know what kind of value it is:

    sources = sources_of(value)         # () for a value that came from no file
    sources[0].path, sources[0].commit  # known at once, and so is the size
    sources[0].is_unchanged()           # by size and times: would loading it again give the same?
    sources[0].digest()                 # SHA-256 of the content, as hexadecimal text
    digest_in_background(sources)       # so that a later digest() need not wait

Only what reads a file notes it; what is made of such values is told by the graph. Loading hashes
nothing. A file is hashed by one thread that gives way to all others, once for as
long as it stays unchanged: what a large file was found to be is noted in the user's cache folder.
"""

from __future__ import annotations

import hashlib
import os
import threading
import weakref
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from .whole import write_whole

V = TypeVar("V")

WORTH_A_NOTE = 2**24
"""Bytes; a smaller file is hashed faster than its note would be kept in order."""


@dataclass(frozen=True)
class Source:
    """A file as it was when a value was read from it.

    `modified` and `changed` are the file system's times in nanoseconds, the second one of those
    that nobody can set. `repository` and `commit` are those of the hub's cache, if it is there.
    """

    path: Path
    size: int
    modified: int
    changed: int
    inode: int
    repository: str | None = None
    commit: str | None = None

    @classmethod
    def of(cls, path: Path) -> Source:
        """Look at a file; raises OSError if it is not there."""
        path = path.absolute()
        repository, commit = _on_the_hub(path)
        state = path.stat()
        times = state.st_mtime_ns, state.st_ctime_ns
        return cls(path, state.st_size, *times, state.st_ino, repository, commit)

    def is_unchanged(self) -> bool:
        """Tell whether the file is still there as it was."""
        try:
            return Source.of(self.path) == self
        except OSError:
            return False

    def digest(self) -> str:
        """Give the SHA-256 of the file, as hexadecimal text.

        Raises ValueError for a file that has changed.
        """
        return _digest_of(self).result()


def came_from(value: V, *files: Source | Path) -> V:
    """Note that a value came from these files, and give it back.

    The note is kept beside the value, for as long as the value lives; so it may be of any class
    that takes weak references (networks, tensors, dataclasses; no numbers, texts or lists).
    """
    sources = [file if isinstance(file, Source) else Source.of(file) for file in files]
    if id(value) not in _sources:
        weakref.finalize(value, _sources.pop, id(value)).atexit = False
    _sources[id(value)] = tuple(dict.fromkeys(sources))
    return value


def sources_of(value: object) -> tuple[Source, ...]:
    """Give the files that a value, or what is in a tuple or list, came from."""
    if isinstance(value, tuple | list):
        found = (sources_of(item) for item in cast("Iterable[Any]", value))
        return tuple(dict.fromkeys(source for sources in found for source in sources))
    return _sources.get(id(value), ())


def digest_in_background(sources: Iterable[Source]) -> None:
    """Begin to hash files, without waiting."""
    for source in sources:
        _digest_of(source)


_sources: dict[int, tuple[Source, ...]] = {}
_digests: dict[Source, Future[str]] = {}
_lock = threading.Lock()


def _give_way() -> None:
    """Let this thread run when no other wants to, where the system can do that for a thread."""
    with suppress(AttributeError, OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)


_hashing = ThreadPoolExecutor(1, "hashing", initializer=_give_way)


def _digest_of(source: Source) -> Future[str]:
    with _lock:
        if source not in _digests:
            _digests[source] = _hashing.submit(_digest, source)
        return _digests[source]


def _digest(source: Source) -> str:
    if not source.is_unchanged():
        raise ValueError(f"{source.path} has changed since it was loaded")
    note = user_cache() / "digests" / hashlib.sha256(repr(astuple(source)).encode()).hexdigest()
    with suppress(OSError):
        return note.read_text(encoding="ascii")
    with source.path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if not source.is_unchanged():
        raise ValueError(f"{source.path} changes while it is read")
    if source.size >= WORTH_A_NOTE:
        with suppress(OSError):  # a home that cannot be written to
            write_whole(note, lambda part: part.write_text(found, encoding="ascii"))
    return found


def user_cache() -> Path:
    """Give the folder for what may be made anew at any time."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "run-graph"


def _on_the_hub(path: Path) -> tuple[str | None, str | None]:
    """Read repository and commit off a path `models--OWNER--NAME/snapshots/COMMIT/…`."""
    for folder in path.parents:
        if folder.parent.name == "snapshots":
            kind, *names = folder.parent.parent.name.split("--")
            if kind == "models" and names:
                return "/".join(names), folder.name
    return None, None
