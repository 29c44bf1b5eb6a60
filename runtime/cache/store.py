"""Values kept in files, from process to process."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from graph import write_whole

from .remember import FORGOTTEN
from .value_files import NotStorable, as_bytes, read_value

log = logging.getLogger("run-graph")
SUFFIX = ".safetensors"


class Store:
    """Keeps values by key in a folder, and deletes those used least recently beyond `limit` bytes.

    A value is one safetensors file, there whole or not at all, so that processes can share the
    folder. Tensors, numbers, texts, lists and tuples of these are stored, nothing else; a file
    says of no class that is not among the annotations of the block that asks for it.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        folder.mkdir(parents=True, exist_ok=True)
        self._bytes: int | None = None

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
            write_whole(file, lambda part: part.write_bytes(data))
        except OSError as error:  # a run does not fail because it cannot be remembered
            log.warning("%s cannot be written: %s", file, error)
            return
        self._bytes = self._scan() if self._bytes is None else self._bytes + len(data)
        if self._bytes > self.limit:
            self._make_room()

    def _scan(self) -> int:
        return sum(size for _, size, _ in self._files())

    def _files(self) -> Iterator[tuple[int, int, Path]]:
        """Walk over the files, also those that a killed process left half: age, size and path."""
        for file in self.folder.glob(f"??/*{SUFFIX}"):
            with suppress(OSError):  # another process deletes, too
                state = file.stat()
                yield state.st_mtime_ns, state.st_size, file

    def _make_room(self) -> None:
        """Delete the oldest files until a tenth is free, so that it is not done at every put."""
        files = sorted(self._files())
        left = sum(size for _, size, _ in files)
        for _, size, file in files:
            if left <= 0.9 * self.limit:
                break
            with suppress(OSError):
                file.unlink()
            left -= size
        self._bytes = left
