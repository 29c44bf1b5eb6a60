"""Several calls of a node that works on each picture by itself, as one call on all pictures.

Such a node's tensors have pictures along their first axis, one for each picture or one that serves
all; a tensor without axes is no picture's. Tuples hold such tensors.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any, cast

import torch
from torch import Tensor


class Apart(tuple[Any, ...]):
    """Values that do not fit into one tensor: texts of different lengths."""

    __slots__ = ()


def stack(values: list[Any]) -> Any:
    """Put the pictures of values of the same shapes behind one another, else give them Apart.

    Where none is given, None is given.
    """
    if all(value is None for value in values):
        return None
    outline, *others = {tuple(leaf.shape for leaf in _leaves(value)) for value in values}
    if others or not outline or not all(outline):
        return Apart(values)
    return _joined(values)


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

    `differing` arguments are stacked, the others are those of all calls: where each call has one
    picture, they are handed on as they are. Where shapes do not allow it, the calls are made one by
    one. With `when`, only those are made whose flag holds.
    """
    if when is not None and not all(when):
        chosen = [number for number, flag in enumerate(when) if flag]
        if not chosen:
            return {}
        for name in differing:
            each = _cut(arguments[name], len(names))
            arguments[name] = stack([each[number] for number in chosen])
        names = [names[number] for number in chosen]
    calls = len(names)
    pictures = _pictures(arguments, differing, calls)
    if pictures is None:
        each = {name: _cut(arguments[name], calls) for name in differing}
        values = [
            function(**arguments | {name: each[name][number] for name in differing})
            for number in range(calls)
        ]
    else:
        if pictures > 1:
            arguments = _of_all_calls(arguments, differing, calls, pictures)
        values = _cut(function(**arguments), calls)
    return dict(zip(names, values, strict=True))


def one_by_one(function: Callable[..., Any], **arguments: Any) -> Any:
    """Call a function for one picture at a time, and put what it gives behind one another."""
    pictures = _pictures(arguments)
    if pictures in (None, 1):
        return function(**arguments)

    def of(number: int) -> Callable[[Tensor], Tensor]:
        return lambda it: it[number : number + 1] if it.ndim and len(it) == pictures else it

    return _joined(
        [
            function(**{name: _map(of(number), value) for name, value in arguments.items()})
            for number in range(pictures)
        ]
    )


def _of_all_calls(
    arguments: dict[str, Any], differing: Collection[str], calls: int, pictures: int
) -> dict[str, Any]:
    """Give arguments with as many pictures as all calls have together, or one that serves all."""

    def side_by_side(stacked: Tensor) -> Tensor:
        one_each = len(stacked) < calls * pictures
        return stacked.repeat_interleave(pictures, 0) if one_each else stacked

    def repeated(tensor: Tensor) -> Tensor:
        return tensor if _serves_all(tensor) else torch.cat([tensor] * calls)

    return {
        name: _map(side_by_side if name in differing else repeated, value)
        for name, value in arguments.items()
    }


def _cut(value: Any, calls: int) -> Sequence[Any]:
    """Give the value of each call from that of all; one picture serves them all."""
    if isinstance(value, Tensor):
        if _serves_all(value):
            return [value] * calls
        return value.split_with_sizes([value.shape[0] // calls] * calls)
    if isinstance(value, Apart):
        return value
    if not isinstance(value, tuple):
        return [value] * calls
    whole = cast("tuple[Any, ...]", value)
    parts = [_cut(part, calls) for part in whole]
    return [_like(whole, [part[number] for part in parts]) for number in range(calls)]


def _pictures(
    arguments: dict[str, Any], differing: Collection[str] = (), calls: int = 1
) -> int | None:
    """Count the pictures of each call; None where the arguments disagree."""
    counts = {1}
    for name, value in arguments.items():
        if isinstance(value, Apart):
            return None
        together = calls if name in differing else 1
        for leaf in (value,) if isinstance(value, Tensor) else _leaves(value):
            if shape := leaf.shape:
                counts.add(shape[0] // together)
    return max(counts) if len(counts) <= 2 else None


def _serves_all(tensor: Tensor) -> bool:
    return not tensor.ndim or tensor.shape[0] == 1


def _leaves(value: Any) -> Sequence[Tensor]:
    if isinstance(value, Tensor):
        return (value,)
    if not isinstance(value, tuple):
        return ()
    return [leaf for part in cast("tuple[Any, ...]", value) for leaf in _leaves(part)]


def _map(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """Apply a function to the tensors in a value."""
    if isinstance(value, Tensor):
        return function(value)
    if not isinstance(value, tuple):
        return value
    whole = cast("tuple[Any, ...]", value)
    return _like(whole, [_map(function, part) for part in whole])


def _joined(values: list[Any]) -> Any:
    """Put the pictures of tensors in the same place of tuples of the same form together."""
    first = values[0]
    if isinstance(first, Tensor):
        return torch.cat(values)
    if not isinstance(first, tuple):
        return first
    whole = cast("tuple[Any, ...]", first)
    return _like(whole, [_joined([*parts]) for parts in zip(*values, strict=True)])


def _like(whole: tuple[Any, ...], parts: list[Any]) -> tuple[Any, ...]:
    return type(whole)(*parts) if hasattr(whole, "_fields") else tuple(parts)
