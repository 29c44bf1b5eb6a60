"""What a picture says of values and types, in few words."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Literal, get_args, get_origin

from ..blocks import ListOf, Reference, Value
from ..blocks import Literal as Given
from ..errors import Place
from ..kinds import Ambient, class_of, kind_of, members

LONGEST_VALUE = 26
_PLAIN = (str, int, float, bool, types.NoneType)


def clipped(text: str, longest: int = LONGEST_VALUE) -> str:
    """Shorten a text to one line of so many letters."""
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[: longest - 1].rstrip()}…"


def first_sentence(text: str) -> str:
    """Take the first sentence of a comment."""
    paragraph = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=\.) ", paragraph, maxsplit=1)[0]


def value_words(value: object) -> str:
    """Write a value as a graph file does."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case str():
            return value or '""'
        case list() | tuple():
            items: list[object] = list(value)  # pyright: ignore[reportUnknownArgumentType]
            return f"[{', '.join(value_words(item) for item in items)}]"
        case _:
            return str(value)


def source_words(value: Value) -> str:
    """Write what flows into a port: a literal as it stands, a reference by its whole name."""
    match value:
        case Given():
            return value_words(value.value)
        case Reference():
            return "$" + ".".join((value.name, *value.fields))
        case ListOf():
            return f"[{', '.join(source_words(item) for item in value.items)}]"


def place_words(place: Place) -> str:
    """Say where something stands, by the name of its file alone."""
    return f"{PurePath(place.file).name}:{place.line}"


def is_plain(annotation: Any) -> bool:
    """Tell whether a value can be written in a graph file or on a command line."""
    if kind_of(annotation) is not None:
        return False
    extras: tuple[Any, ...] = getattr(annotation, "__metadata__", ())
    if any(isinstance(extra, Ambient) for extra in extras):
        return True
    return all(_is_plain(member) for member in members(annotation))


def _is_plain(annotation: Any) -> bool:
    found = class_of(annotation)
    if annotation in _PLAIN or annotation is Any or get_origin(annotation) is Literal:
        return True
    if found is None or found.__module__ not in ("builtins", "collections.abc"):
        return found is not None and issubclass(found, PurePath | str)
    return all(arg is Ellipsis or is_plain(arg) for arg in get_args(annotation))


def hue_of(kind: str, hues: Mapping[str, str], other: str) -> str:
    """Find the colour of a kind; lists and options have that of what they are made of."""
    inner = kind.split(" or ")[0].split(", ")[0].removeprefix("list of ")
    return hues.get(kind) or hues.get(inner) or other
