"""Values that a file or a person gives, validated by pydantic over the annotation of their port."""

from __future__ import annotations

import types
from collections.abc import Callable
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin

from pydantic import ConfigDict, InstanceOf, Strict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from .errors import did_you_mean
from .kinds import class_of, describe, members

_PLAIN = (int, float, str, bool, bytes)
_LIMITS = {
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "finite_number": "must be a finite number",
    "string_too_short": "needs at least {min_length} characters",
    "string_too_long": "takes at most {max_length} characters",
    "string_pattern_mismatch": "must match {pattern}",
    "too_short": "needs at least {min_length} items",
    "too_long": "takes at most {max_length} items",
    "value_error": "{error}",
    "assertion_error": "{error}",
}
"""What each way to break a limit is called; any other error means that the type is wrong."""


class Unfit(Exception):
    """A value that may not go where it was given: what is wrong, and perhaps what would help."""

    def __init__(self, message: str, help: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.help = help


def validate(value: object, annotation: Any) -> Any:
    """Return the value as the annotation has it, such as a Path for text.

    Raises Unfit where the value does not fit.
    """
    try:
        return _adapter(annotation).validate_python((value,))[0]
    except ValidationError as error:
        details = error.errors(include_url=False)
    # Of a union, the member that the value has the type of tells more than those that it has not.
    detail = next((detail for detail in details if detail["type"] in _LIMITS), details[0])
    raise _unfit(detail, value, annotation)


def _unfit(detail: ErrorDetails, value: object, annotation: Any) -> Unfit:
    found = describe_value(value)
    limit = _LIMITS.get(detail["type"])
    if limit:
        said = limit.format(**detail.get("ctx", {}))
        item = next((part for part in detail["loc"][1:] if isinstance(part, int)), None)
        if item is not None:
            return Unfit(f"{said}, found {describe_value(detail['input'])} as item {item + 1}")
        return Unfit(f"{said}, found {found}")
    help = did_you_mean(value, _choices(annotation)) if isinstance(value, str) else None
    takes = f"takes {describe(annotation)}, found "
    if isinstance(value, list) and len(detail["loc"]) > 1 and isinstance(detail["loc"][-1], int):
        found = f"{describe_value(detail['input'])} as item {detail['loc'][-1] + 1}"
    return Unfit(takes + found, help)


def is_writable(annotation: Any) -> bool:
    """Tell whether a file can spell a value of this type, or it must come from a node."""
    offers = [member for member in members(annotation) if member is not types.NoneType]
    return not all(_is_opaque(offer) for offer in offers)


def _choices(annotation: Any) -> list[str]:
    offers = [get_args(member) for member in members(annotation) if get_origin(member) is Literal]
    return [value for offer in offers for value in offer if isinstance(value, str)]


def _is_opaque(annotation: Any) -> bool:
    found = class_of(annotation)
    if found is None or issubclass(found, (*_PLAIN, Enum, Path)):
        return False
    return found.__module__ not in ("builtins", "collections.abc", "datetime", "typing")


def describe_value(value: object) -> str:
    """Say in words what was found: `12`, `true`, `the text 'many'`, `a list`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"the text {value!r}"
    if isinstance(value, int | float):
        return repr(value)
    name = type(value).__name__
    return {"list": "a list", "dict": "a mapping"}.get(name, name)


@lru_cache(maxsize=1024)
def _adapter(annotation: Any) -> TypeAdapter[tuple[Any]]:
    # Inside a tuple, because pydantic takes no config beside a dataclass.
    wrapped: Any = tuple.__class_getitem__(_strict(annotation))
    return TypeAdapter(wrapped, config=ConfigDict(arbitrary_types_allowed=True))


def _strict(annotation: Any) -> Any:
    """Close conversions such as `true` to 1, but not those that a file needs: text to Path."""
    if isinstance(annotation, TypeVar):
        return Any
    origin: Any = get_origin(annotation)
    args: tuple[Any, ...] = get_args(annotation)
    if origin is Annotated:
        return Annotated[(_strict(args[0]), *annotation.__metadata__)]
    if origin in (Union, types.UnionType):
        return Union[tuple(_strict(member) for member in args)]  # noqa: UP007
    if annotation in _PLAIN:
        return Annotated[annotation, Strict()]
    if _is_opaque(annotation):
        return cast("Any", InstanceOf)[class_of(annotation)]
    if origin is None or origin is Literal or origin is Callable:
        return annotation
    return origin[tuple(arg if arg is Ellipsis else _strict(arg) for arg in args)]
