"""Several calls of a node that works on each picture by itself, as one call on all pictures.

Such a node's tensors have pictures along their first axis, one for each picture or one that serves
all; a tensor without axes is no picture's. Tuples hold such tensors.
"""

from collections.abc import Callable, Collection, Sequence
from operator import itemgetter
from typing import Any, cast

import torch
from torch import Tensor


class Apart(tuple[Any, ...]):
    """Values that do not fit into one tensor: texts of different lengths."""

    __slots__ = ()


def stack(values: list[Any]) -> Any:
    """Put values of the same shapes behind one another along a new first axis, else Apart.

    Where none is given, None is given.
    """
    if all(value is None for value in values):
        return None
    outlines = {tuple(leaf.shape for leaf in _leaves(value)) for value in values}
    if len(outlines) > 1 or () in outlines:
        return Apart(values)
    return _joined(torch.stack, values)


def given(value: Any) -> Any:
    """Give what another call made."""
    return value


def call_together(
    function: Callable[..., Any],
    names: Sequence[str],
    differing: Collection[str],
    /,
    when: Sequence[bool] | None = None,
    **arguments: Any,
) -> dict[str, Any]:
    """Call a function once for several calls, and give the value of each by its name.

    `differing` arguments are stacked, the others are those of all calls. Where shapes do not allow
    it, the calls are made one by one. With `when`, only those are made whose flag holds.
    """
    if when is not None and not all(when):
        chosen = [number for number, flag in enumerate(when) if flag]
        if not chosen:
            return {}
        names = [names[number] for number in chosen]
        arguments |= {
            name: stack([_of_call(arguments[name], number) for number in chosen])
            for name in differing
        }
    pictures = _pictures(arguments, differing)
    calls = range(len(names))
    if pictures is None:
        values = [function(**_of_one_call(arguments, differing, number)) for number in calls]
    else:
        value = function(**_of_all_calls(arguments, differing, len(names), pictures))
        values = _apart(value, len(names))
    return dict(zip(names, values, strict=True))


def one_by_one(function: Callable[..., Any], **arguments: Any) -> Any:
    """Call a function for one picture at a time, and put what it gives behind one another."""
    pictures = _pictures(arguments, ())
    if pictures in (None, 1):
        return function(**arguments)

    def of(number: int) -> Callable[[Tensor], Tensor]:
        return lambda it: it[number : number + 1] if it.ndim and len(it) == pictures else it

    parts = [
        function(**{name: _map(of(number), value) for name, value in arguments.items()})
        for number in range(pictures)
    ]
    return _joined(torch.cat, parts)


def _of_all_calls(
    arguments: dict[str, Any], differing: Collection[str], calls: int, pictures: int
) -> dict[str, Any]:
    def side_by_side(stacked: Tensor) -> Tensor:
        if stacked.shape[1] != pictures:
            stacked = stacked.expand(calls, pictures, *stacked.shape[2:])
        return stacked.flatten(0, 1)

    def repeated(tensor: Tensor) -> Tensor:
        if not tensor.ndim:
            return tensor
        if tensor.shape[0] != pictures:
            tensor = tensor.expand(pictures, *tensor.shape[1:])
        return torch.cat([tensor] * calls)

    return {
        name: _map(side_by_side if name in differing else repeated, value)
        for name, value in arguments.items()
    }


def _apart(value: Any, calls: int) -> Sequence[Any]:
    """Give the value of each call from that of all."""
    if isinstance(value, Tensor):
        return value.chunk(calls)
    if not isinstance(value, tuple):
        return [value] * calls
    whole = cast("tuple[Any, ...]", value)
    parts = [_apart(part, calls) for part in whole]
    return [_like(whole, [part[number] for part in parts]) for number in range(calls)]


def _pictures(arguments: dict[str, Any], differing: Collection[str]) -> int | None:
    """Count the pictures of each call; None where the arguments disagree."""
    counts = {1}
    for name, value in arguments.items():
        if isinstance(value, Apart):
            return None
        axis = int(name in differing)
        for leaf in _leaves(value):
            if leaf.ndim > axis:
                counts.add(leaf.shape[axis])
    return max(counts) if len(counts) <= 2 else None


def _of_one_call(
    arguments: dict[str, Any], differing: Collection[str], number: int
) -> dict[str, Any]:
    return arguments | {name: _of_call(arguments[name], number) for name in differing}


def _of_call(stacked: Any, number: int) -> Any:
    return stacked[number] if isinstance(stacked, Apart) else _map(itemgetter(number), stacked)


def _leaves(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    parts = cast("tuple[Any, ...]", value) if isinstance(value, tuple) else ()
    return [leaf for part in parts for leaf in _leaves(part)]


def _map(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """Apply a function to the tensors in a value."""
    if isinstance(value, Tensor):
        return function(value)
    if not isinstance(value, tuple):
        return value
    whole = cast("tuple[Any, ...]", value)
    return _like(whole, [_map(function, part) for part in whole])


def _joined(join: Callable[[list[Tensor]], Tensor], values: list[Any]) -> Any:
    """Join the tensors in the same place of tuples of the same form."""
    first = values[0]
    if isinstance(first, Tensor):
        return join(values)
    if not isinstance(first, tuple):
        return first
    whole = cast("tuple[Any, ...]", first)
    return _like(whole, [_joined(join, [*parts]) for parts in zip(*values, strict=True)])


def _like(whole: tuple[Any, ...], parts: list[Any]) -> tuple[Any, ...]:
    return type(whole)(*parts) if hasattr(whole, "_fields") else tuple(parts)
