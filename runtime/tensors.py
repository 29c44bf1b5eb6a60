"""What of a value holds memory: its tensors and networks, wherever in it they are."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, cast

from torch import Tensor, nn

Leaf = Tensor | nn.Module


def leaves_of(value: Any) -> Iterator[Leaf]:
    """Walk over the tensors and networks in lists, tuples, dictionaries and dataclasses."""
    if isinstance(value, Leaf):
        yield value
    elif isinstance(value, list | tuple):
        for item in cast("list[Any]", value):
            yield from leaves_of(item)
    elif isinstance(value, dict):
        for item in cast("dict[Any, Any]", value).values():
            yield from leaves_of(item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from leaves_of(getattr(value, field.name))


def with_leaves(value: Any, change: Callable[[Leaf], Leaf]) -> Any:
    """Give a value with other tensors and networks in the places of its own."""
    if isinstance(value, Leaf):
        return change(value)
    if isinstance(value, dict):
        items = cast("dict[Any, Any]", value).items()
        return {key: with_leaves(item, change) for key, item in items}
    if isinstance(value, list | tuple):
        whole = cast("list[Any]", value)
        changed = [with_leaves(item, change) for item in whole]
        return type(whole)(*changed) if hasattr(whole, "_fields") else type(whole)(changed)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {it.name: getattr(value, it.name) for it in dataclasses.fields(value)}
        return dataclasses.replace(value, **with_leaves(fields, change))
    return value


def tensors_of(value: Any) -> Iterator[Tensor]:
    """Walk over the tensors in a value; of a network also those that are no parameters."""
    for leaf in leaves_of(value):
        if isinstance(leaf, Tensor):
            yield leaf
        else:
            for module in leaf.modules():
                yield from own_tensors(module)


def own_tensors(module: nn.Module) -> Iterator[Tensor]:
    """Walk over the tensors that a module holds itself."""
    own: dict[str, Any] = module.__dict__
    for held in (own, own["_parameters"], own["_buffers"]):
        yield from (it for it in held.values() if isinstance(it, Tensor))
