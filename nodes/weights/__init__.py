"""From files to tensors: where a checkpoint's files are, and how a network gets them."""

from .component import Component, StoredTensor
from .digest import check_digests, digest
from .find import (
    find_component,
    find_config,
    find_folder,
    find_folder_of,
    find_weights,
    read_config,
)
from .hub import shipped_checkpoints
from .load import load_weights
from .stored import open_tensors

__all__ = [
    "Component",
    "StoredTensor",
    "check_digests",
    "digest",
    "find_component",
    "find_config",
    "find_folder",
    "find_folder_of",
    "find_weights",
    "load_weights",
    "open_tensors",
    "read_config",
    "shipped_checkpoints",
]
