"""Values as files: tensors, numbers, texts, lists and tuples of these."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from graph import fields_of, members

from ..content.canonical import digest


class NotStorable(Exception):
    """A value that has no form as a file: a network, an object of any class."""


def as_bytes(value: Any, annotation: Any, more: Mapping[str, str] | None = None) -> bytes:
    """Give a value as the content of a safetensors file, with `more` texts beside it.

    Raises NotStorable for a value that has no form as a file; classes are those that the annotation
    names.
    """
    tensors: list[Tensor] = []
    form = json.dumps(_encoded(value, tensors, dict(_named_tuples(annotation))))
    metadata = {**(more or {}), "value": form, "sha256": digest([form, tensors]).hex()}
    return save({str(index): tensor for index, tensor in enumerate(tensors)}, metadata)


def read_value(file: Path, annotation: Any, device: torch.device) -> Any:
    """Read a value; raises OSError where the file is not there, ValueError where it is damaged."""
    try:
        metadata, tensors = _read(file)
        if digest([metadata["value"], tensors]).hex() != metadata["sha256"]:
            raise ValueError("its content is not what was stored")
        form = json.loads(metadata["value"])
        return _decoded(form, tensors, dict(_named_tuples(annotation)), device)
    except (SafetensorError, KeyError, TypeError, IndexError) as error:
        raise ValueError(str(error)) from error


def read_texts(file: Path) -> dict[str, str]:
    """Read the texts beside a value; raises OSError or ValueError as `read_value` does."""
    try:
        with _opened(file) as opened:
            return opened.metadata() or {}
    except SafetensorError as error:
        raise ValueError(str(error)) from error


@contextmanager
def _opened(file: Path) -> Generator[Any]:
    """Open a file; raises FileNotFoundError also where another process deletes it meanwhile."""
    try:
        with cast("Any", safe_open)(file, "pt") as opened:
            yield opened
    except RuntimeError as error:  # PyTorch opens the file again, after the library
        if file.exists():
            raise
        raise FileNotFoundError(str(file)) from error


def _read(file: Path) -> tuple[dict[str, str], list[Tensor]]:
    with _opened(file) as opened:
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
