"""Values as bytes that are equal if, and only if, the values are."""

from __future__ import annotations

import dataclasses
import hashlib
import struct
from collections.abc import Callable, Iterable
from enum import Enum
from pathlib import PurePath
from typing import Any, cast

import torch
from torch import Tensor

Write = Callable[[bytes], object]


class NotCanonical(Exception):
    """A value of which nobody knows whether another is equal to it, such as a function."""


def digest(value: Any) -> bytes:
    """Give the SHA-256 of a value: plain data, tensors by content, tuples and dataclasses of these.

    Raises NotCanonical for any other.
    """
    whole = hashlib.sha256()
    _write(value, whole.update)
    return whole.digest()


def encoded(value: Any) -> bytes:
    """Give a value as bytes; raises NotCanonical where it is no such value."""
    parts: list[bytes] = []
    _write(value, parts.append)
    return b"".join(parts)


def _write(value: Any, write: Write) -> None:
    if isinstance(value, Enum | PurePath | torch.device | torch.dtype):
        _text(f"{_class(value)} {value}", write)
    elif value is None or isinstance(value, bool | int):
        write(f"{value};".encode())
    elif isinstance(value, float):
        write(b"f" + struct.pack("<d", value))
    elif isinstance(value, str):
        _text(value, write)
    elif isinstance(value, bytes):
        write(b"b%d;" % len(value))
        write(value)
    elif isinstance(value, Tensor):
        _tensor(value, write)
    elif isinstance(value, list | tuple):
        _items(value, cast("list[Any]", value), write)
    elif isinstance(value, dict):
        items = cast("dict[Any, Any]", value).items()
        _items(value, (part for pair in sorted(items, key=_order) for part in pair), write)
    elif isinstance(value, set | frozenset):
        _items(value, sorted(cast("set[Any]", value), key=encoded), write)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        _items(value, fields.items(), write)
    else:
        raise NotCanonical(f"{_class(value)} can be compared with nothing")


def _order(pair: tuple[Any, Any]) -> bytes:
    return encoded(pair[0])


def _items(value: Any, items: Iterable[Any], write: Write) -> None:
    _text(_class(value), write)
    write(b"(")
    for item in items:
        _write(item, write)
    write(b")")


def _text(text: str, write: Write) -> None:
    data = text.encode("utf-8", "surrogatepass")
    write(b"t%d;" % len(data))
    write(data)


def _tensor(value: Tensor, write: Write) -> None:
    if value.is_meta or value.is_mkldnn or value.is_sparse:
        raise NotCanonical(f"a tensor in the layout {value.layout} on {value.device}")
    _text(f"tensor {value.dtype} {tuple(value.shape)} {value.device.type}", write)
    plain = value.detach().cpu().contiguous().reshape(-1)
    if plain.numel():
        write(plain.view(torch.uint8).numpy().tobytes())  # pyright: ignore[reportUnknownMemberType]


def _class(value: Any) -> str:
    kind = cast("type[Any]", type(value))
    return f"{kind.__module__}.{kind.__qualname__}"
