"""A checkpoint's component before it is a network: its config, and its tensors by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor


def _nothing() -> None:
    """Hold no memory, so release none."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file: what its header says, and how to read it.

    What `read` gives lies in the file itself, mapped to memory; after a copy of it was made,
    `release` gives the memory back, and reading it again would read the file again. `span` is the
    bytes of the file that it lies in, empty where that is not known.
    """

    file: Path
    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]
    release: Callable[[], None] = _nothing
    span: range = range(0)


class StoredConfig(NamedTuple):
    """A parsed config, and the file that it is in."""

    values: Mapping[str, Any]
    file: Path


@dataclass(frozen=True)
class Component:
    """A network's parsed `config.json` and its tensors under the names that the network has.

    Folders, hub repositories and single files all come down to this; so loading, converting and
    inspecting know nothing of where a component came from. `file` is the one that the config was
    read from.
    """

    config: Mapping[str, Any]
    tensors: Mapping[str, StoredTensor]
    file: Path | None = None

    @property
    def weight_files(self) -> list[Path]:
        """The files that the tensors are in, in the order of their names."""
        return sorted({tensor.file for tensor in self.tensors.values()})
