"""Values kept in memory from run to run."""

from __future__ import annotations

import dataclasses
import logging
import weakref
from collections import OrderedDict
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..tensors import leaves_of, tensors_of
from .remember import FORGOTTEN

log = logging.getLogger("run-graph")
RUNS = 16
"""So many runs a value is kept that none of them uses."""


class Memory:
    """Keeps values by key, and lets go of those used least recently beyond `limit` bytes.

    What many runs on end did not use goes, too: of ten thousand pictures none is asked for again.

    A tensor that was changed in place since it was kept is noticed by its version, and forgotten.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._used: dict[bytes, int] = {}
        self._run = 0
        self._users: dict[int, int] = {}

    def begin_run(self) -> None:
        """Let go of what the last runs did not use, and of what is beyond the limit by now."""
        for key, kept in list(self._kept.items()):
            if self._used[key] == self._run and _grows(kept.value):
                self._count(kept.sizes, -1)
                self._count(sizes := _sizes(kept.value), 1)
                self._kept[key] = dataclasses.replace(kept, sizes=sizes)
        self.keep_at_most(self.limit)
        self._run += 1
        while self._kept and self._used[next(iter(self._kept))] < self._run - RUNS:
            self._drop(next(iter(self._kept)))

    def get(self, key: bytes) -> Any:
        """Give a value, or FORGOTTEN."""
        kept = self._kept.get(key)
        if kept is None:
            return FORGOTTEN
        if not kept.tensors.are_as_they_were():
            log.warning("a value was changed in place after it was made, so it is made anew")
            self._drop(key)
            return FORGOTTEN
        self._kept.move_to_end(key)
        self._used[key] = self._run
        return _with_own_containers(kept.value)

    def put(self, key: bytes, value: Any) -> None:
        """Keep a value, unless it alone is too large."""
        if key in self._kept:
            self._drop(key)
        kept = _Kept(_with_own_containers(value), _sizes(value), Versions(value))
        if not self.limit or sum(kept.sizes.values()) > self.limit:
            return
        self._kept[key], self._used[key] = kept, self._run
        self._count(kept.sizes, 1)
        self.keep_at_most(self.limit)

    def keep_at_most(self, limit: int) -> None:
        """Let go of what is beyond a limit, from here on."""
        self.limit = limit
        while self.bytes > limit:
            self._drop(next(iter(self._kept)))

    def clear(self) -> None:
        """Let go of everything."""
        for key in list(self._kept):
            self._drop(key)

    def _drop(self, key: bytes) -> None:
        del self._used[key]
        self._count(self._kept.pop(key).sizes, -1)

    def _count(self, sizes: dict[int, int], users: int) -> None:
        """Count that so many values more, or fewer, hold these."""
        for storage, size in sizes.items():
            before = self._users.pop(storage, 0)
            if before + users:
                self._users[storage] = before + users
            self.bytes += size * (bool(before + users) - bool(before))


class Versions:
    """How often each tensor in a value was changed in place, at one time.

    A network may put other tensors in the place of its own, so none is held here.
    """

    def __init__(self, value: Any) -> None:
        self._seen = [(weakref.ref(tensor), _version(tensor)) for tensor in tensors_of(value)]

    def are_as_they_were(self) -> bool:
        """Tell whether no tensor was changed since."""
        alive = ((reference(), version) for reference, version in self._seen)
        return all(tensor is None or _version(tensor) == version for tensor, version in alive)


@dataclasses.dataclass(frozen=True)
class _Kept:
    value: Any
    sizes: dict[int, int]
    tensors: Versions


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version  # pyright: ignore[reportPrivateUsage]


def _grows(value: Any) -> bool:
    """Tell whether a value may come to hold more: on a CPU, networks read their weights late."""
    return any(isinstance(leaf, nn.Module) for leaf in leaves_of(value))


def _sizes(value: Any) -> dict[int, int]:
    # What is on the meta device is a weight that is still in its file.
    return dict(_storage(tensor) for tensor in tensors_of(value) if not tensor.is_meta)


def _storage(tensor: Tensor) -> tuple[int, int]:
    if tensor.layout is not torch.strided:
        return id(tensor), tensor.numel() * tensor.element_size()
    storage = tensor.untyped_storage()
    return storage.data_ptr(), storage.nbytes()


def _with_own_containers(value: Any) -> Any:
    """Copy lists and dictionaries, so that who changes the one does not change the other."""
    if isinstance(value, list):
        return [_with_own_containers(item) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        items = cast("dict[Any, Any]", value).items()
        return {key: _with_own_containers(item) for key, item in items}
    return value
