"""Weights in the layout that the processor multiplies fastest, for networks that only predict.

oneDNN, with which PyTorch computes on a CPU, wants a weight in blocks that depend on the shape of
the input. Left alone it reorders every weight at every call. The operators that take a weight in
blocks have no public name in PyTorch, so they are used here and nowhere else.
"""

from collections.abc import Callable, Iterator, Mapping
from copy import copy
from functools import cache
from typing import Any, Self, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .opaque import opaque
from .winograd import pays, transform_weight, winograd

Network = TypeVar("Network", bound=nn.Module)
Read = Callable[[], Tensor]
Scratch = dict[torch.dtype, Tensor]
"""Memory that the convolutions of a network use in turn: who takes it out has it alone."""
AT_ONCE = 16
"""So many channels are converted at once: they stay in the processor's cache."""
SAME_SIZE = ((1, 1), (1, 1), (1, 1), 1)
"""Padding, stride, dilation and groups of a convolution of 3 × 3 that keeps the size."""


class Packed(nn.Module):
    """A weight kept in the blocks that suit the input seen last; `weight` gives it plain.

    With `read`, which may give another precision, it stays in its file until it is packed, and is
    read anew where it is asked for before.
    """

    def __init__(self, layer: nn.Conv2d | nn.Linear, read: Read | None = None) -> None:
        super().__init__()
        self.bias = layer.bias
        self.stored = layer.weight.detach()
        self.read = read
        self.suits: torch.Size | None = None

    @property
    def weight(self) -> Tensor:
        """The weight in its plain layout."""
        return self.given.to(self.stored.dtype)

    @property
    def given(self) -> Tensor:
        """The weight in its plain layout, and in the precision of its file while it is there."""
        if self.read is not None:
            return self.read()
        return self.stored.to_dense() if self.stored.is_mkldnn else self.stored

    def with_weight(self, weight: Tensor) -> Self:
        """Give a layer that has another weight, in its plain layout."""
        other = copy(self)
        other.stored, other.read, other.suits = weight, None, None
        return other

    def packed_for(self, x: Tensor) -> Tensor:
        """Give the weight in the blocks for an input, packing it anew if the shape changed."""
        if self.suits != x.shape:
            self.stored = self.pack(x)
            self.read, self.suits = None, x.shape
        return self.stored

    def pack(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def is_plain_for(self, x: Tensor) -> bool:
        """Tell whether the plain weight is to be used: for gradients, and on other devices."""
        return not x.is_cpu or (torch.is_grad_enabled() and x.requires_grad)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or convert the weight as that of any layer."""
        self.stored, self.read, self.suits = fn(self.weight), None, None
        return super()._apply(fn, recurse)


class PackedConv2d(Packed):
    """A convolution whose weight is in blocks; its output has channels last."""

    def __init__(
        self, layer: nn.Conv2d, read: Read | None = None, scratch: Scratch | None = None
    ) -> None:
        super().__init__(layer, read)
        self.scratch: Scratch = {} if scratch is None else scratch
        self.padding = layer.padding
        self.geometry = (layer.padding, layer.stride, layer.dilation, layer.groups)
        self.keeps_size = layer.kernel_size == (3, 3) and self.geometry == SAME_SIZE
        self.sums: tuple[bool, Tensor] | None = None

    def with_weight(self, weight: Tensor) -> Self:
        other = super().with_weight(weight)
        other.sums = None
        return other

    def pack(self, x: Tensor) -> Tensor:
        reorder, dtype = torch.ops.mkldnn._reorder_convolution_weight, self.stored.dtype
        given, self.sums = self.given, None
        if given.shape[2:].numel() == 1:
            return reorder(given.to(dtype), *self.geometry, x.shape)
        scratch = self.scratch.pop(dtype, None)
        if scratch is None or not 1 <= scratch.numel() / given.numel() <= 2:
            with torch.inference_mode(False):  # to be written to in any mode
                scratch = torch.empty(given.numel(), dtype=dtype)
        # oneDNN reorders what has channels last two to three times as fast.
        last = scratch[: given.numel()].view(len(given), *given.shape[2:], -1).permute(0, 3, 1, 2)
        for part, place in zip(given.split(AT_ONCE), last.split(AT_ONCE), strict=True):
            place.copy_(part.to(dtype))
        packed = reorder(last, *self.geometry, x.shape)
        self.scratch[dtype] = scratch
        return packed

    def forward(self, x: Tensor, doubled: bool = False) -> Tensor:
        """Convolve; with `doubled`, what has every pixel twice along both sides (B, C, 2·H, 2·W).

        Where it pays, sums of weights meet sums of pixels in fewer products.
        """
        if self.is_plain_for(x):
            padding, stride, dilation, groups = self.geometry
            x = F.interpolate(x, scale_factor=2.0) if doubled else x
            return F.conv2d(x, self.weight, self.bias, stride, padding, dilation, groups)
        if self.keeps_size and pays(x, self.stored.shape[0], doubled):
            return winograd(x, self.sums_for(doubled), self.bias, doubled)
        x = F.interpolate(x, scale_factor=2.0) if doubled else x
        x = x.contiguous(memory_format=torch.channels_last)
        return convolve(x, self.packed_for(x), self.bias, *self.geometry)

    def sums_for(self, doubled: bool) -> Tensor:
        """Give sums of weights, which stay beside the weight: it can't be had back from them."""
        if self.sums is None or self.sums[0] is not doubled:
            self.sums = doubled, transform_weight(self.given, self.stored.dtype, doubled)
        return self.sums[1]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self.sums = None
        return super()._apply(fn, recurse)


class PackedLinear(Packed):
    """A linear layer whose weight is in blocks."""

    def pack(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._reorder_linear_weight(self.weight, x.shape[:-1].numel())

    def forward(self, x: Tensor) -> Tensor:
        if self.is_plain_for(x):
            return F.linear(x, self.weight, self.bias)
        return multiply(x.contiguous(), self.packed_for(x), self.bias)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, *geometry: object) -> Tensor:
    return torch.ops.mkldnn._convolution_pointwise(x, weight, bias, *geometry, "none", [], "")


def _convolved(x: Tensor, weight: Tensor, bias: Tensor | None, *geometry: Any) -> Tensor:  # noqa: ARG001
    padding, stride, dilation, _ = geometry
    reach = [d * (side - 1) for d, side in zip(dilation, weight.shape[2:], strict=True)]
    sides = [
        (side + 2 * p - r - 1) // s + 1
        for side, p, r, s in zip(x.shape[2:], padding, reach, stride, strict=True)
    ]
    return x.new_empty((x.shape[0], weight.shape[0], *sides)).contiguous(
        memory_format=torch.channels_last
    )


def _multiply(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def _multiplied(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: ARG001
    return x.new_empty((*x.shape[:-1], weight.shape[0]))


# To the compiler they are wholes: it would take their weights for constants of its own.
convolve = opaque(
    "(Tensor x, Tensor weight, Tensor? bias, int[] padding, int[] stride, int[] dilation, "
    "int groups) -> Tensor",
    _convolve,
    _convolved,
)
multiply = opaque("(Tensor x, Tensor weight, Tensor? bias) -> Tensor", _multiply, _multiplied)


def pack(network: Network, readers: Mapping[str, Read] | None = None) -> Network:
    """Replace, in place, the convolutions and linear layers of a network that is on a CPU.

    A weight is packed at its first use, when the shape of its input is known, and again where the
    shape changes; those that have a reader, by name, are read then. Layers are left alone where
    PyTorch has no oneDNN, or the processor nothing for their precision.
    """
    found = readers or {}
    scratch: Scratch = {}
    devices = (it.device.type for name, it in network.named_parameters() if name not in found)
    if all(kind == "cpu" for kind in devices):
        for parent, key, path, layer in list(_layers(network)):
            read = found.get(f"{path}.weight")
            if isinstance(layer, nn.Conv2d):
                setattr(parent, key, PackedConv2d(layer, read, scratch))
            else:
                setattr(parent, key, PackedLinear(layer, read))
    return network


def packable(network: nn.Module) -> frozenset[str]:
    """Name the weights that `pack` would replace on a CPU."""
    return frozenset(f"{path}.weight" for _, _, path, _ in _layers(network))


def _layers(
    network: nn.Module,
) -> Iterator[tuple[nn.Module, str, str, nn.Conv2d | nn.Linear]]:
    """Walk over the layers to pack: in which module each is, as what, and by which name."""
    for path, module in network.named_modules():
        for key, child in module.named_children():
            if isinstance(child, nn.Conv2d | nn.Linear) and _can_be_packed(child):
                yield module, key, f"{path}.{key}" if path else key, child


def _can_be_packed(layer: nn.Conv2d | nn.Linear) -> bool:
    if type(layer) not in (nn.Conv2d, nn.Linear):
        return False
    pads = getattr(layer, "padding_mode", "zeros")
    return pads == "zeros" and can_pack(layer.weight.dtype)


@cache
def can_pack(dtype: torch.dtype = torch.float32) -> bool:
    """Ask whether PyTorch has the operators here, and whether they compute the same."""
    if not torch.backends.mkldnn.is_available():
        return False
    convolution, linear = nn.Conv2d(4, 8, 3, padding=1).to(dtype), nn.Linear(16, 8).to(dtype)
    picture, rows = torch.ones(1, 4, 8, 8, dtype=dtype), torch.ones(3, 16, dtype=dtype)
    doubled = torch.ones(1, 4, 16, 16, dtype=dtype)
    with torch.no_grad():
        try:
            return all(
                torch.allclose(found, expected, atol=100 * torch.finfo(dtype).eps)
                for found, expected in (
                    (PackedConv2d(convolution)(picture), convolution(picture)),
                    (PackedConv2d(convolution)(picture, True), convolution(doubled)),
                    (PackedLinear(linear)(rows), linear(rows)),
                )
            )
        except (AttributeError, NotImplementedError, RuntimeError, TypeError):
            return False
