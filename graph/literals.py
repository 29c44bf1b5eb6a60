"""Values that a file or a person gives: validated once, by pydantic, over the annotation of where they go."""

from __future__ import annotations

import types
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import ConfigDict, InstanceOf, Strict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from .errors import did_you_mean
from .kinds import describe, members

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
    """A value that may not go where it was given: what is wrong with it, and perhaps what is near."""

    def __init__(self, message: str, help: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.help = help


def validate(value: object, annotation: Any) -> Any:
    """Return the value as the annotation has it, such as a Path for text; raises Unfit where it does not fit."""
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
    offers = [member for member in members(annotation) if member is not types.NoneType]
    if all(_is_opaque(get_origin(offer) or offer) for offer in offers):
        help = "wire it with $name"
    return Unfit(takes + found, help)


def _choices(annotation: Any) -> list[str]:
    offers = [get_args(member) for member in members(annotation) if get_origin(member) is Literal]
    return [value for offer in offers for value in offer if isinstance(value, str)]


def _is_opaque(found: Any) -> bool:
    """Tell whether a file cannot spell a value of this type, so that it must come from a node."""
    if not isinstance(found, type) or issubclass(found, (*_PLAIN, Enum, Path)):
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
    names = {list: "a list", dict: "a mapping", tuple: "a tuple"}
    return names.get(type(value), type(value).__name__)


@lru_cache(maxsize=1024)
def _adapter(annotation: Any) -> TypeAdapter[tuple[Any]]:
    # Inside a tuple, because pydantic takes no config beside a dataclass.
    return TypeAdapter(
        tuple[_strict(annotation)], config=ConfigDict(arbitrary_types_allowed=True)
    )


def _strict(annotation: Any) -> Any:
    """Close pydantic's conversions, such as `true` to 1, but keep those that a file needs, such as text to Path."""
    if isinstance(annotation, TypeVar):
        return Any
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return Annotated[_strict(args[0]), *annotation.__metadata__]
    if origin in (Union, types.UnionType):
        return Union[tuple(_strict(member) for member in args)]  # noqa: UP007
    if annotation in _PLAIN:
        return Annotated[annotation, Strict()]
    if origin is None:
        return Annotated[annotation, InstanceOf()] if _is_opaque(annotation) else annotation
    if _is_opaque(origin):
        return Annotated[origin, InstanceOf()]
    if origin is Literal or not isinstance(origin, type) or origin.__module__ == "typing":
        return annotation
    return origin[tuple(arg if arg is Ellipsis else _strict(arg) for arg in args)]
