"""From files to tensors: where a checkpoint's files are, and how a network gets them."""

from .find import find_config, find_folder, find_folder_of, find_weights, shipped_checkpoints
from .load import load_weights

__all__ = [
    "find_config",
    "find_folder",
    "find_folder_of",
    "find_weights",
    "load_weights",
    "shipped_checkpoints",
]
