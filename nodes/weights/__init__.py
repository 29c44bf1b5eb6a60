"""From files to tensors: where a checkpoint's files are, and how a network gets them."""

from .checkpoint import Checkpoint, only_part, without_parts
from .clip_vocabulary import with_vocabularies
from .component import Component, StoredConfig, StoredTensor
from .families import known_families, matching_families
from .find import (
    find_component,
    find_config,
    find_file,
    find_folder,
    find_weights,
    read_config,
)
from .folder import find_tokenizer, open_checkpoint, read_tokenizer, small_files
from .ip_adapter import open_ip_adapter
from .key_names_unet import unet_names
from .load import load_weights
from .lora import Change, Changes, layer_names, read_lora
from .page_cache import read_ahead
from .shipped import shipped_checkpoints
from .single_file import find_single_file, read_single_file
from .stored import open_tensors
from .tokenizer import Tokenizer
from .write import write_single_file, write_tensors

__all__ = [
    "Change",
    "Changes",
    "Checkpoint",
    "Component",
    "StoredConfig",
    "StoredTensor",
    "Tokenizer",
    "find_component",
    "find_config",
    "find_file",
    "find_folder",
    "find_single_file",
    "find_tokenizer",
    "find_weights",
    "known_families",
    "layer_names",
    "load_weights",
    "matching_families",
    "only_part",
    "open_checkpoint",
    "open_ip_adapter",
    "open_tensors",
    "read_ahead",
    "read_config",
    "read_lora",
    "read_single_file",
    "read_tokenizer",
    "shipped_checkpoints",
    "small_files",
    "unet_names",
    "with_vocabularies",
    "without_parts",
    "write_single_file",
    "write_tensors",
]
