"""Weights in the layout that the processor multiplies fastest, for networks that only predict.

oneDNN, with which PyTorch computes on a CPU, wants a weight in blocks that depend on the shape of
the input. Left alone it reorders every weight at every call. The operators that take a weight in
blocks have no public name in PyTorch, so they are used here and nowhere else.
"""

from copy import copy
from functools import cache
from typing import Self, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


class Packed(nn.Module):
    """A weight kept in the blocks that suit the input seen last; `dense` gives it plain."""

    def __init__(self, layer: nn.Conv2d | nn.Linear) -> None:
        super().__init__()
        self.bias = layer.bias
        self.stored = layer.weight.detach()
        self.suits: torch.Size | None = None

    @property
    def weight(self) -> Tensor:
        """The weight in its plain layout."""
        return self.stored.to_dense() if self.stored.is_mkldnn else self.stored

    def with_weight(self, weight: Tensor) -> Self:
        """Give a layer that has another weight, in its plain layout."""
        other = copy(self)
        other.stored, other.suits = weight, None
        return other

    def packed_for(self, x: Tensor) -> Tensor:
        """Give the weight in the blocks for an input, packing it anew if the shape changed."""
        if self.suits != x.shape:
            self.stored = self.pack(x)
            self.suits = x.shape
        return self.stored

    def pack(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class PackedConv2d(Packed):
    """A convolution whose weight is in blocks; its output has channels last."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__(layer)
        self.padding = layer.padding
        self.geometry = (layer.padding, layer.stride, layer.dilation, layer.groups)

    def pack(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._reorder_convolution_weight(self.weight, *self.geometry, x.shape)

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() and x.requires_grad:
            padding, stride, dilation, groups = self.geometry
            return F.conv2d(x, self.weight, self.bias, stride, padding, dilation, groups)
        x = x.contiguous(memory_format=torch.channels_last)
        return torch.ops.mkldnn._convolution_pointwise(
            x, self.packed_for(x), self.bias, *self.geometry, "none", [], ""
        )


class PackedLinear(Packed):
    """A linear layer whose weight is in blocks."""

    def pack(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._reorder_linear_weight(self.weight, x.shape[:-1].numel())

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() and x.requires_grad:
            return F.linear(x, self.weight, self.bias)
        return torch.ops.mkldnn._linear_pointwise(
            x.contiguous(), self.packed_for(x), self.bias, "none", [], ""
        )


def pack(network: Network) -> Network:
    """Replace, in place, the convolutions and linear layers of a network that is on a CPU.

    A weight is packed at its first use, when the shape of its input is known, and again where the
    shape changes. The network is left alone where PyTorch has no oneDNN.
    """
    weights = (parameter.device.type for parameter in network.parameters())
    if all(kind == "cpu" for kind in weights) and can_pack():
        _pack_children(network)
    return network


def _pack_children(module: nn.Module) -> None:
    for name, child in module.named_children():
        if type(child) is nn.Conv2d and child.padding_mode == "zeros":
            setattr(module, name, PackedConv2d(child))
        elif type(child) is nn.Linear:
            setattr(module, name, PackedLinear(child))
        else:
            _pack_children(child)


@cache
def can_pack() -> bool:
    """Ask whether this PyTorch has the operators, and whether they compute the same."""
    if not torch.backends.mkldnn.is_available():
        return False
    convolution, linear = nn.Conv2d(4, 8, 3, padding=1), nn.Linear(16, 8)
    picture, rows = torch.ones(1, 4, 8, 8), torch.ones(3, 16)
    with torch.no_grad():
        try:
            return all(
                torch.allclose(packed(x), plain(x), atol=1e-4)
                for packed, plain, x in (
                    (PackedConv2d(convolution), convolution, picture),
                    (PackedLinear(linear), linear, rows),
                )
            )
        except (AttributeError, NotImplementedError, RuntimeError, TypeError):
            return False
