"""What shapes alone do not tell: operations on tensors of several devices or precisions.

On the meta device, which stands for that of a run, many of them would pass.
"""

from collections.abc import Iterable, Iterator
from typing import Any, cast

import torch
from torch import Tensor

_ATEN: Any = torch.ops.aten
# These move numbers from one device to another, or take indexes of any device in a list.
_BETWEEN_DEVICES = {_ATEN.copy_, _ATEN.index, _ATEN.index_put, _ATEN.index_put_}
# These convert nothing; all others that take several tensors find a common precision.
_OF_ONE_PRECISION = {
    _ATEN.mm, _ATEN.bmm, _ATEN.addmm, _ATEN.addmv, _ATEN.baddbmm, _ATEN.convolution,
    _ATEN.native_group_norm, _ATEN.native_layer_norm, _ATEN.grid_sampler_2d, _ATEN.index_put,
    _ATEN.index_put_,
}  # fmt: skip


class MixedError(RuntimeError):
    """An operation was given what no device computes with."""


def expect_alike(operation: Any, arguments: Iterable[Any]) -> None:
    """Raise MixedError for tensors that are not on one device, or not of one precision.

    A single number of the CPU may be used everywhere.
    """
    packet = operation.overloadpacket
    if packet not in _BETWEEN_DEVICES:
        devices = {each.device.type for each in _tensors(arguments) if each.ndim}
        if len(devices) > 1:
            raise MixedError(
                f"`{packet.__name__}` of PyTorch is given a tensor on the CPU and one on the "
                "device of the run: move one of them, as `one.to(other)` does"
            )
    if packet in _OF_ONE_PRECISION:
        found = {each.dtype for each in arguments if isinstance(each, Tensor)}
        if len(found) > 1:
            names = " and ".join(sorted(str(dtype).removeprefix("torch.") for dtype in found))
            raise MixedError(
                f"`{packet.__name__}` of PyTorch is given {names}: convert one of them, as "
                "`one.to(other)` does"
            )


def _tensors(arguments: Iterable[Any]) -> Iterator[Tensor]:
    for argument in arguments:
        if isinstance(argument, Tensor):
            yield argument
        elif isinstance(argument, list | tuple):
            yield from _tensors(cast("Iterable[Any]", argument))
