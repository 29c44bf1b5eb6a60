"""A network that differs from another in a few layers, and shares the memory of all the others."""

from collections.abc import Mapping
from copy import copy, deepcopy
from typing import Any, TypeVar

from torch import Tensor, nn

from .packed import Packed

Network = TypeVar("Network", bound=nn.Module)
Weighted = nn.Linear | nn.Conv2d | Packed


def with_layers(network: Network, layers: Mapping[str, nn.Module]) -> Network:
    """Give a network that has other layers in these places; the network itself stays as it is."""
    # What a deep copy has seen already it does not copy.
    seen: dict[int, Any] = {
        id(value): value for value in (*network.parameters(), *network.buffers())
    }
    for name, module in network.named_modules():
        if name in layers or not any(module.children()):
            seen[id(module)] = layers.get(name, module)
    return deepcopy(network, seen)


def with_weight(layer: Weighted, weight: Tensor) -> Weighted:
    """Give a layer that has another weight of the same shape, and shares its bias."""
    if isinstance(layer, Packed):
        return layer.with_weight(weight)
    other = copy(layer)
    other._parameters = dict(layer._parameters)
    other.weight = nn.Parameter(weight, requires_grad=False)
    return other
