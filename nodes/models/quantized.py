"""Weights in eight bits with a scale for each output channel: half the memory of bfloat16.

Where a machine multiplies eight bits (int8 on CPUs with VNNI or AMX, float8 on GPUs from Hopper
on), the input is put into eight bits at every call, too; elsewhere the weight is put back into the
precision of the input. The operators have no public name in PyTorch: they are used here alone.
"""

from functools import cache
from typing import Literal, Self, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .packed import PackedConv2d
from .variant import Weighted, with_layers

Network = TypeVar("Network", bound=nn.Module)
Precision = Literal["int8", "float8"]
KINDS = {"int8": (torch.int8, 127), "float8": (torch.float8_e4m3fn, 448)}
"""The type of each precision, and the largest number in use."""
WIDE = (torch.float32, torch.bfloat16)
"""The precisions that a CPU multiplies bytes into."""
NARROW = 32
"""Layers with fewer channels on a side stay as they are: they are small, and errors show there."""


class Quantized(nn.Module):
    """A layer whose weight is in eight bits; `weight` gives it in float32."""

    stored: Tensor
    scale: Tensor

    def __init__(self, layer: Weighted, weight: Tensor, precision: Precision) -> None:
        super().__init__()
        kind, largest = KINDS[precision]
        self.bias = layer.bias
        scale = weight.flatten(1).abs().amax(dim=1).float().clamp(min=1e-12) / largest  # N
        stored = weight / scale.view(-1, *[1] * (weight.ndim - 1))
        stored = stored.round() if precision == "int8" else stored
        self.register_buffer("stored", stored.to(kind))
        self.register_buffer("scale", scale)

    @property
    def weight(self) -> Tensor:
        """The weight in its plain layout, in float32."""
        return self.weight_in(torch.float32)

    def weight_in(self, dtype: torch.dtype) -> Tensor:
        """Give the weight in its plain layout, in a precision of more bits."""
        stored = self.stored
        if stored.is_mkldnn:  # which has a matrix the other way round
            stored = stored.to_dense().T if stored.ndim == 2 else stored.to_dense()
        return stored.to(dtype).mul_(self.scale.view(-1, *[1] * (stored.ndim - 1)))

    def pack(self) -> Self:
        """Put an int8 weight into the blocks in which a CPU multiplies it, and give the layer."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() and x.requires_grad:
            return self.plain(x)
        if self.stored.dtype == torch.int8 and x.device.type == "cpu" and can_multiply_bytes():
            return self.picture_by_picture(x) if x.dtype in WIDE else self.plain(x)
        return self.in_float8(x) if can_multiply_float8(self, x) else self.plain(x)

    def picture_by_picture(self, x: Tensor) -> Tensor:
        """Multiply in int8, so that no picture depends on those beside it."""
        layer = self if self.stored.is_mkldnn else self.pack()
        return torch.cat([layer.in_int8(picture) for picture in x.split(1)])

    def plain(self, x: Tensor) -> Tensor:
        """Multiply by the weight in the precision of the input."""
        raise NotImplementedError

    def in_int8(self, x: Tensor) -> Tensor:
        """Multiply bytes by a packed weight."""
        raise NotImplementedError

    def in_float8(self, x: Tensor) -> Tensor:
        """Multiply in float8, where there is an operator for the layer."""
        return self.plain(x)


class QuantizedConv2d(Quantized):
    """A convolution whose weight is in eight bits."""

    def __init__(
        self, layer: nn.Conv2d | PackedConv2d, weight: Tensor, precision: Precision
    ) -> None:
        super().__init__(layer, weight, precision)
        layer = layer if isinstance(layer, PackedConv2d) else PackedConv2d(layer)
        self.padding, self.geometry = layer.padding, layer.geometry

    def pack(self) -> Self:
        padding, stride, dilation, groups = self.geometry
        self.stored = torch.ops.onednn.qconv_prepack(
            self.stored, self.scale, 1.0, 0, stride, padding, dilation, groups, None
        )
        return self

    def plain(self, x: Tensor) -> Tensor:
        padding, stride, dilation, groups = self.geometry
        return F.conv2d(x, self.weight_in(x.dtype), self.bias, stride, padding, dilation, groups)

    def in_int8(self, x: Tensor) -> Tensor:
        padding, stride, dilation, groups = self.geometry
        given, scale, zero = in_bytes(x)
        return torch.ops.onednn.qconv2d_pointwise(
            given.contiguous(memory_format=torch.channels_last), scale, zero,
            self.stored, self.scale, _zeros(self.scale), _wide(self.bias),
            stride, padding, dilation, groups, 1.0, 0, x.dtype, "none", [], "",
        )  # fmt: skip


class QuantizedLinear(Quantized):
    """A linear layer whose weight is in eight bits."""

    def pack(self) -> Self:
        self.stored = torch.ops.onednn.qlinear_prepack(self.stored, None)
        return self

    def plain(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight_in(x.dtype), self.bias)

    def in_int8(self, x: Tensor) -> Tensor:
        given, scale, zero = in_bytes(x.flatten(0, -2))
        made = torch.ops.onednn.qlinear_pointwise(
            given, scale, zero, self.stored, self.scale, _zeros(self.scale), _wide(self.bias),
            1.0, 0, x.dtype, "none", [], "",
        )  # fmt: skip
        return made.unflatten(0, x.shape[:-1])

    def in_float8(self, x: Tensor) -> Tensor:
        rows = x.flatten(0, -2)  # M K
        kind, largest = KINDS["float8"]
        own = rows.abs().amax(dim=1, keepdim=True).float().clamp(min=1e-12) / largest  # M 1
        given, scales = (rows / own).to(kind), {"scale_a": own, "scale_b": self.scale[None]}
        made = torch.ops.aten._scaled_mm(given, self.stored.T, **scales, out_dtype=x.dtype)
        made = made if self.bias is None else made + self.bias
        return made.unflatten(0, x.shape[:-1])


def in_bytes(x: Tensor) -> tuple[Tensor, float, int]:
    """Give a tensor in unsigned bytes, what one step of them is, and which byte is zero."""
    low, high = min(x.amin().item(), 0.0), max(x.amax().item(), 0.0)
    scale = (high - low) / 255 or 1.0
    zero = round(-low / scale)
    given = x.float().div(scale).add_(zero).round_().clamp_(0, 255)
    return given.to(torch.uint8), scale, zero


def with_eight_bits(network: Network, precision: Precision) -> Network:
    """Give a network with weights in eight bits; the network itself stays as it is.

    Weights that are still in their files are read one at a time, so that no more memory is needed
    than the new network takes. Raises ValueError for one that is in eight bits already.
    """
    if is_quantized(network):
        raise ValueError("`model` is in eight bits already")
    layers: dict[str, nn.Module] = {}
    for name, layer in network.named_modules():
        if isinstance(layer, Weighted):
            weight = layer.weight.detach()
            if min(weight.shape[:2]) >= NARROW:
                layers[name] = _in_eight_bits(layer, weight, precision)
    return with_layers(network, layers)


def _in_eight_bits(layer: Weighted, weight: Tensor, precision: Precision) -> Quantized:
    if isinstance(layer, nn.Conv2d | PackedConv2d):
        return QuantizedConv2d(layer, weight, precision)
    return QuantizedLinear(layer, weight, precision)


def is_quantized(network: nn.Module) -> bool:
    """Ask whether a network has weights in eight bits."""
    return any(isinstance(module, Quantized) for module in network.modules())


def can_multiply_float8(layer: Quantized, x: Tensor) -> bool:
    """Ask whether the GPU of an input multiplies float8 with a scale for each row and column."""
    aligned = not any(side % 16 for side in layer.stored.shape[:2])
    if not x.is_cuda or x.dtype != torch.bfloat16 or layer.stored.dtype == torch.int8:
        return False
    return aligned and torch.cuda.get_device_capability(x.device) >= (9, 0)


@cache
def can_multiply_bytes() -> bool:
    """Ask whether this CPU and PyTorch multiply bytes, fast and without overflow."""
    convolution, linear = nn.Conv2d(64, 32, 1), nn.Linear(64, 32)
    picture, rows = torch.ones(1, 64, 2, 2), torch.ones(3, 64)  # with the largest sums there are
    with torch.no_grad():
        try:
            return torch.cpu._is_vnni_supported() and all(
                torch.allclose(layer.plain(x), layer.pack().in_int8(x), rtol=1e-4)
                for layer, x in (
                    (QuantizedConv2d(convolution, torch.ones(32, 64, 1, 1), "int8"), picture),
                    (QuantizedLinear(linear, torch.ones(32, 64), "int8"), rows),
                )
            )
        except (AttributeError, NotImplementedError, RuntimeError, TypeError):
            return False


def _zeros(scale: Tensor) -> Tensor:
    return torch.zeros_like(scale, dtype=torch.int32)


def _wide(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.float()
