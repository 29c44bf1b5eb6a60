"""Networks that rest in host memory, and copies of them that compute on the run's device.

A copy has modules of its own, which share the weights until they bring them to the device. So the
network that rests stays as it is, and with the copy goes all that was brought: on a CPU, where
large weights rest in their file, that is what layers read and packed.
"""

from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Annotated, Any, cast, get_type_hints

import torch
from torch import Tensor, nn

from graph import Ambient, Block, Call, class_of, members, node_type_of

from ..tensors import Leaf, own_tensors, tensors_of, with_leaves

Device = Annotated[torch.device, Ambient("device")]
Move = Callable[[Tensor], Tensor]
Prepare = Callable[[nn.Module, nn.Module, Move], None]
"""Prepares a layer of a copy, given the one that rests, to move its weights."""
LARGE = 2**16
"""A layer whose weight has fewer bytes is brought with the copy: code asks such where it is."""


def bring(model: Any, device: Device) -> Any:
    """Give a copy of a model whose layers bring their weights to the device at their first call."""
    return brought(model, mover(device))


def bring_by_layer(model: Any, device: Device) -> Any:
    """Give a copy of a model whose layers bring their weights at each call, and let them go."""
    return streamed(model, mover(device))


BRING, BRING_BY_LAYER = node_type_of(bring), node_type_of(bring_by_layer)
BRINGING = (BRING.name, BRING_BY_LAYER.name)


def is_brought(block: Block) -> bool:
    """Tell whether a block makes a copy of a model for another block."""
    return isinstance(block, Call) and block.node in (BRING, BRING_BY_LAYER)


def is_model(annotation: Any, within: frozenset[type] = frozenset()) -> bool:
    """Tell whether what is annotated so is a network, or a tuple or dataclass that holds one.

    Classes that it stands within are not looked at again.
    """
    kinds = {kind for it in members(annotation) if (kind := class_of(it)) is not None} - within
    return any(
        issubclass(kind, nn.Module)
        or any(is_model(hint, within | kinds) for hint in _fields_of(kind))
        for kind in kinds
    )


def _fields_of(kind: type) -> Iterable[Any]:
    if hasattr(kind, "__dataclass_fields__") or hasattr(kind, "_fields"):
        return get_type_hints(kind, include_extras=True).values()
    return ()


def mover(device: torch.device) -> Move:
    """Say how a tensor gets to a device."""
    # A check counts what is made, so there it is made.
    return lambda tensor: tensor.to(device, copy=tensor.is_meta)


def brought(value: Any, move: Move) -> Any:
    """Give a copy of a value whose layers move their weights at their first call."""
    return with_leaves(value, lambda leaf: _copied(leaf, move, _at_first_call))


def streamed(value: Any, move: Move) -> Any:
    """Give a copy of a value whose layers move their weights at each call, for that call alone."""
    return with_leaves(value, lambda leaf: _copied(leaf, move, _at_each_call))


def _copied(leaf: Leaf, move: Move, prepare: Prepare) -> Leaf:
    if isinstance(leaf, Tensor):
        return move(leaf)
    copy = _sharing(leaf)
    for resting, layer in zip(leaf.modules(), copy.modules(), strict=True):
        if _is_large(layer):
            prepare(layer, resting, move)
        else:
            _move_own(layer, move)
    return copy


def _sharing(network: nn.Module) -> nn.Module:
    """Copy the modules of a network, and none of its weights."""
    shared = {
        id(it): nn.Parameter(it.detach(), it.requires_grad) if isinstance(it, nn.Parameter) else it
        for it in tensors_of(network)
    }
    return deepcopy(network, cast("dict[int, Any]", shared))


def _is_large(layer: nn.Module) -> bool:
    """Tell whether a layer is worth waiting with; of embeddings code also takes rows itself."""
    if isinstance(layer, nn.Embedding) or any(layer.children()):
        return False
    return any(tensor.nbytes >= LARGE for tensor in own_tensors(layer))


def _move_own(layer: nn.Module, move: Move) -> None:
    layer._apply(move, recurse=False)  # pyright: ignore  # what `to` calls, but for one layer


def _at_first_call(layer: nn.Module, resting: nn.Module, move: Move) -> None:  # noqa: ARG001
    def arrive(layer: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        handle.remove()
        _move_own(layer, move)
        return _beside(layer, arguments)

    handle = layer.register_forward_pre_hook(arrive)


def _at_each_call(layer: nn.Module, resting: nn.Module, move: Move) -> None:
    def forward(*arguments: Any) -> Any:
        here = _sharing(resting)
        _move_own(here, move)
        return here(*_beside(here, arguments))

    layer.forward = forward


def _beside(layer: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Put what a layer is given where its weights are now: code asks for that before they move."""
    device = next(own_tensors(layer)).device
    return with_leaves(arguments, lambda it: it.to(device) if isinstance(it, Tensor) else it)
