"""Several calls of a node that works on each picture by itself, as one call on all pictures.

Such a node's tensors have pictures along their first axis, one for each picture or one that serves
all; a tensor without axes is no picture's. Tuples hold such tensors.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
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
    return _map(_stack, *values)


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
    chosen = [number for number in range(len(names)) if when is None or when[number]]
    if not chosen:
        return {}
    if len(chosen) < len(names):
        names = [names[number] for number in chosen]
        arguments |= {
            name: stack([_of_call(arguments[name], number) for number in chosen])
            for name in differing
        }
    pictures = _pictures(arguments, differing)
    if pictures is None:
        values = [
            function(**_of_one_call(arguments, differing, number)) for number in range(len(names))
        ]
    else:
        value = function(**_of_all_calls(arguments, differing, len(names), pictures))
        values = [
            _map(itemgetter(slice(number * pictures, (number + 1) * pictures)), value)
            for number in range(len(names))
        ]
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
    return _map(_joined, *parts)


def _joined(*tensors: Tensor) -> Tensor:
    return torch.cat(tensors)


def _of_all_calls(
    arguments: dict[str, Any], differing: Collection[str], calls: int, pictures: int
) -> dict[str, Any]:
    def side_by_side(stacked: Tensor) -> Tensor:
        return stacked.expand(calls, pictures, *stacked.shape[2:]).flatten(0, 1)

    def repeated(tensor: Tensor) -> Tensor:
        if not tensor.ndim:
            return tensor
        return torch.cat([tensor.expand(pictures, *tensor.shape[1:])] * calls)

    return {
        name: _map(side_by_side if name in differing else repeated, value)
        for name, value in arguments.items()
    }


def _pictures(arguments: dict[str, Any], differing: Collection[str]) -> int | None:
    """Count the pictures of each call; None where the arguments disagree."""
    counts = {1}
    for name, value in arguments.items():
        if isinstance(value, Apart):
            return None
        axis = int(name in differing)
        counts |= {leaf.shape[axis] for leaf in _leaves(value) if leaf.ndim > axis}
    return max(counts) if len(counts) <= 2 else None


def _of_one_call(
    arguments: dict[str, Any], differing: Collection[str], number: int
) -> dict[str, Any]:
    return arguments | {name: _of_call(arguments[name], number) for name in differing}


def _of_call(stacked: Any, number: int) -> Any:
    return stacked[number] if isinstance(stacked, Apart) else _map(itemgetter(number), stacked)


def _stack(*tensors: Tensor) -> Tensor:
    return torch.stack(tensors)


def _leaves(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple):
        for item in cast("tuple[Any, ...]", value):
            yield from _leaves(item)


def _map(function: Callable[..., Tensor], first: Any, *others: Any) -> Any:
    """Apply a function to the tensors in the same place of tuples of the same form."""
    if isinstance(first, Tensor):
        return function(first, *others)
    if not isinstance(first, tuple):
        return first
    whole = cast("tuple[Any, ...]", first)
    items = [_map(function, *parts) for parts in zip(whole, *others, strict=True)]
    return type(whole)(*items) if hasattr(whole, "_fields") else tuple(items)
