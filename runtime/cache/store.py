"""Values kept in files, from process to process."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from graph import write_whole

from .remember import FORGOTTEN
from .value_files import NotStorable, as_bytes, read_value

log = logging.getLogger("run-graph")
SUFFIX = ".safetensors"
LONGEST_WAIT = 10  # seconds for another process to write; longer, and a value is not remembered


class Store:
    """Keeps values by key in a folder, and deletes those used least recently beyond `limit` bytes.

    A value is one safetensors file, there whole or not at all, so that processes can share the
    folder. Tensors, numbers, texts, lists and tuples of these are stored, nothing else; a file
    says of no class that is not among the annotations of the block that asks for it.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(folder / "lock", timeout=LONGEST_WAIT)

    def get(self, key: bytes, annotation: Any, device: torch.device) -> Any:
        """Give a value, or FORGOTTEN where there is none or its file is damaged."""
        file = self._file(key)
        try:
            value = read_value(file, annotation, device)
            os.utime(file)
        except FileNotFoundError:
            return FORGOTTEN
        except (OSError, ValueError) as error:
            log.warning("%s is damaged, so it is made anew: %s", file, error)
            with suppress(OSError):
                file.unlink()
            return FORGOTTEN
        return value

    def put(self, key: bytes, value: Any, annotation: Any) -> bool:
        """Store a value if it has a form as a file; says whether it has."""
        try:
            data = as_bytes(value, annotation)
        except NotStorable:
            return False
        if len(data) <= self.limit:
            self._write(self._file(key), data)
        return True

    def _file(self, key: bytes) -> Path:
        name = key.hex()
        return self.folder / name[:2] / f"{name}{SUFFIX}"

    def _write(self, file: Path, data: bytes) -> None:
        try:
            with self._lock:
                self._count(len(data))
                write_whole(file, lambda part: part.write_bytes(data))
        # A run does not fail because it cannot be remembered; some file systems have no locks.
        except (OSError, NotImplementedError) as error:
            log.warning("%s cannot be written: %s", file, error)

    def _count(self, more: int) -> None:
        """Add to the bytes that the folder holds, which a file tells all processes; make room.

        What was counted and then not written is found when the folder is looked through again.
        """
        note = self.folder / "bytes"
        try:
            held = int(note.read_text())
        except (FileNotFoundError, ValueError):
            held = self.limit
        if held + more > self.limit:
            held = self._make_room(self.limit - more)
        note.write_text(str(held + more))

    def _make_room(self, limit: int) -> int:
        """Delete the oldest files beyond a limit, and then a tenth more, so that it is done rarely.

        Gives the bytes that are left.
        """
        files = sorted(self._files())
        left = sum(size for _, size, _ in files)
        if left <= limit:
            return left
        for _, size, file in files:
            if left <= 0.9 * limit:
                break
            file.unlink(missing_ok=True)
            left -= size
        return left

    def _files(self) -> Iterator[tuple[int, int, Path]]:
        """Walk over the files, also those that a killed process left half: age, size and path."""
        for file in self.folder.glob(f"??/*{SUFFIX}"):
            with suppress(OSError):  # whoever finds one damaged deletes it
                state = file.stat()
                yield state.st_mtime_ns, state.st_size, file
