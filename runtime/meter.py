"""What operations take: floating-point operations, and memory."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from .mixing import expect_alike

_FLOPS: Mapping[Any, Callable[..., int]] = flop_registry


class Meter(TorchDispatchMode):
    """Counts the operations made inside it, and the bytes of every tensor as long as it lives.

    `flops` are those since the start, as `torch.utils.flop_counter` counts them. What is made while
    `elsewhere` holds is on another device, and its bytes are not counted.
    """

    def __init__(self) -> None:
        super().__init__()  # pyright: ignore[reportUnknownMemberType]
        self.now = 0
        self.peak = 0
        self.flops = 0
        self.elsewhere = False
        self._seen: set[int] = set()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Leave PyTorch's compiler alone: to import it takes longer than most checks."""
        return False

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operation, and count it and what it made; raises MixedError where it cannot be."""
        expect_alike(func, args)
        named = kwargs or {}
        result = func(*args, **named)
        if flops_of := _FLOPS.get(func.overloadpacket):
            self.flops += flops_of(*args, **named, out_val=result)
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata  # pyright: ignore[reportPrivateUsage]  # no public name tells twins
        if key not in self._seen:
            self._seen.add(key)
            size = 0 if self.elsewhere else storage.nbytes()
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.now -= size


class FusedAttention(TorchFunctionMode):
    """Has attention on the meta device hold no scores, as the kernels of real devices hold none."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Take the kernel that flash attention has for shapes, which counts the same operations."""
        named = kwargs or {}
        if func is F.scaled_dot_product_attention and args[0].is_meta and not named:
            return torch.ops.aten._scaled_dot_product_flash_attention(*args)[0]
        return func(*args, **named)
