"""Networks without weights, to be filled from a file."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

_MAKE = frozenset({torch.empty, torch.ones, torch.zeros, torch.randn})
_FILL = frozenset(
    {
        nn.init.kaiming_uniform_, nn.init.uniform_, nn.init.normal_, nn.init.constant_,
        nn.init.ones_, nn.init.zeros_,
    }
)  # fmt: skip


class Skeleton(TorchFunctionMode):
    """Within it networks are built on the meta device, and no weight is drawn at random.

    To draw numbers that nobody will see takes longer than to build all the rest, and on the meta
    device it imports PyTorch's compiler, which takes longer than to import PyTorch.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in _FILL:
            return None
        given = kwargs or {}
        if func in _MAKE and given.get("dtype") is not torch.long:  # which counts, and is no weight
            return func(*args, **{**given, "device": "meta"})
        return func(*args, **given)
