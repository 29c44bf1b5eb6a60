"""Values kept in files, from process to process."""

from __future__ import annotations

import itertools
import json
import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from graph import fields_of, members

from .canonical import digest
from .remember import FORGOTTEN

log = logging.getLogger("run-graph")
SUFFIX = ".safetensors"


class NotStorable(Exception):
    """A value that has no form as a file: a network, an object of any class."""


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
        self._numbers = itertools.count()

    def get(self, key: bytes, annotation: Any, device: torch.device) -> Any:
        """Give a value, or FORGOTTEN where there is none or its file is damaged."""
        file = self._file(key)
        try:
            metadata, tensors = _read(file)
            if digest([metadata["value"], tensors]).hex() != metadata["sha256"]:
                raise ValueError("its content is not what was stored")
            form = json.loads(metadata["value"])
            value = _decoded(form, tensors, dict(_named_tuples(annotation)), device)
            os.utime(file)
        except FileNotFoundError:
            return FORGOTTEN
        except (OSError, SafetensorError, ValueError, KeyError, TypeError, IndexError) as error:
            log.warning("%s is damaged, so it is made anew: %s", file, error)
            with suppress(OSError):
                file.unlink()
            return FORGOTTEN
        return value

    def put(self, key: bytes, value: Any, annotation: Any) -> bool:
        """Store a value if it has a form as a file; says whether it has."""
        tensors: list[Tensor] = []
        try:
            form = json.dumps(_encoded(value, tensors, dict(_named_tuples(annotation))))
        except NotStorable:
            return False
        metadata = {"value": form, "sha256": digest([form, tensors]).hex()}
        data = save({str(index): tensor for index, tensor in enumerate(tensors)}, metadata)
        if len(data) <= self.limit:
            self._write(self._file(key), data)
        return True

    def _file(self, key: bytes) -> Path:
        name = key.hex()
        return self.folder / name[:2] / f"{name}{SUFFIX}"

    def _write(self, file: Path, data: bytes) -> None:
        part = file.with_name(f".{file.stem}.{os.getpid()}.{next(self._numbers)}.part")
        try:
            file.parent.mkdir(exist_ok=True)
            part.write_bytes(data)
            part.replace(file)
        except OSError as error:  # a run does not fail because it cannot be remembered
            log.warning("%s cannot be written: %s", file, error)
            with suppress(OSError):
                part.unlink()
            return
        self._bytes = self._scan() if self._bytes is None else self._bytes + len(data)
        if self._bytes > self.limit:
            self._make_room()

    def _scan(self) -> int:
        return sum(size for _, size, _ in self._files())

    def _files(self) -> Iterator[tuple[int, int, Path]]:
        """Walk over the files, also those that a killed process left half: age, size and path."""
        for file in (*self.folder.glob(f"??/*{SUFFIX}"), *self.folder.glob("??/.*.part")):
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


def _read(file: Path) -> tuple[dict[str, str], list[Tensor]]:
    with cast("Any", safe_open)(file, "pt") as opened:
        count = len(opened.keys())
        return opened.metadata(), [opened.get_tensor(str(index)) for index in range(count)]


def _encoded(value: Any, tensors: list[Tensor], classes: dict[str, Any]) -> Any:
    """Write a value as JSON, in which a tensor is its number."""
    if value is None or isinstance(value, bool | int | float | str):
        return {"plain": value}
    if isinstance(value, Tensor):
        if value.layout is not torch.strided or value.is_meta or value.dtype.is_complex:
            raise NotStorable
        last = value.ndim == 4 and not value.is_contiguous()
        last = last and value.is_contiguous(memory_format=torch.channels_last)
        tensors.append(value.detach().to("cpu", copy=True).contiguous())
        return {"tensor": len(tensors) - 1, "cpu": value.device.type == "cpu", "last": last}
    if isinstance(value, dict):
        items = cast("dict[Any, Any]", value).items()
        if not all(isinstance(key, str) for key, _ in items):
            raise NotStorable
        return {"dict": {key: _encoded(item, tensors, classes) for key, item in items}}
    if isinstance(value, list | tuple):
        whole = cast("list[Any] | tuple[Any, ...]", value)
        kind = type(whole)
        name = f"{kind.__module__}.{kind.__qualname__}"
        if kind not in (list, tuple) and classes.get(name) is not kind:
            raise NotStorable
        return {name: [_encoded(item, tensors, classes) for item in whole]}
    raise NotStorable


def _decoded(
    form: Any, tensors: list[Tensor], classes: dict[str, Any], device: torch.device
) -> Any:
    if "plain" in form:
        return form["plain"]
    if "tensor" in form:
        layout = torch.channels_last if form["last"] else torch.contiguous_format
        tensor = tensors[int(form["tensor"])].contiguous(memory_format=layout)
        return tensor if form["cpu"] else tensor.to(device)
    if "dict" in form:
        return {key: _decoded(it, tensors, classes, device) for key, it in form["dict"].items()}
    ((name, form_items),) = form.items()
    items: list[Any] = [_decoded(item, tensors, classes, device) for item in form_items]
    if name in ("builtins.list", "builtins.tuple"):
        return items if name == "builtins.list" else tuple(items)
    return classes[name](*items)


def _named_tuples(annotation: Any) -> Iterator[tuple[str, Any]]:
    """Walk over the NamedTuples in an annotation, or in the annotations of a loop's value."""
    if isinstance(annotation, dict):
        for inner in cast("dict[str, Any]", annotation).values():
            yield from _named_tuples(inner)
        return
    for member in members(annotation):
        for inner in getattr(member, "__args__", ()):
            yield from _named_tuples(inner)
        if hasattr(member, "_fields"):
            yield f"{member.__module__}.{member.__qualname__}", member
            for inner in fields_of(member).values():
                yield from _named_tuples(inner)
