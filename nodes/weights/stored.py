"""Files of tensors, opened without reading them: safetensors, and pickles that hold data alone."""

import pickle
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .component import StoredTensor

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


def open_tensors(file: Path) -> dict[str, StoredTensor]:
    """List the tensors of a file by name, memory-mapped: each is read when it is asked for.

    Raises ValueError for a file that is damaged, is not what its ending says, or wants to run code.
    """
    with file.open("rb") as stream:
        start = stream.read(64)
    if start.startswith(b"version https://git-lfs"):
        raise ValueError(
            f"{file} points to a file that was not downloaded: run `git lfs pull` in its folder"
        )
    return _open_safetensors(file) if file.suffix == ".safetensors" else _open_pickle(file)


def read_metadata(file: Path) -> dict[str, str]:
    """Read what a safetensors file says of itself; other files say nothing."""
    if file.suffix != ".safetensors":
        return {}
    try:
        with safe_open(file, framework="pt") as opened:  # type: ignore[no-untyped-call]
            return opened.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{file} is not a whole safetensors file: {error}") from error


def _open_safetensors(file: Path) -> dict[str, StoredTensor]:
    try:
        opened = safe_open(file, framework="pt")  # type: ignore[no-untyped-call]
        slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{file} is not a whole safetensors file: {error}") from error
    unknown = {part.get_dtype() for part in slices.values()} - DTYPES.keys()
    if unknown:
        raise ValueError(f"{file} holds numbers of an unknown kind: {', '.join(sorted(unknown))}")
    return {
        name: StoredTensor(
            file,
            tuple(part.get_shape()),
            DTYPES[part.get_dtype()],
            partial(opened.get_tensor, name),
        )
        for name, part in slices.items()
    }


def _open_pickle(file: Path) -> dict[str, StoredTensor]:
    """List the tensors of a pickle without running what else it may hold."""
    try:
        values = _load(file)
    except pickle.UnpicklingError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{file} is a pickle that wants to run code, so it was not opened ({reason}); look for "
            "a safetensors file of the same weights, or convert it where you trust its author"
        ) from error
    except (RuntimeError, EOFError, ValueError) as error:
        raise ValueError(f"{file} is not a whole file of tensors: {error}") from error
    if isinstance(values, dict) and isinstance(values.get("state_dict"), dict):
        values = values["state_dict"]
    if not isinstance(values, dict):
        raise ValueError(f"{file} holds no tensors by name, but {type(values).__name__}")
    return {
        name: StoredTensor(file, tuple(value.shape), value.dtype, partial(_same, value))
        for name, value in values.items()
        if isinstance(value, Tensor)
    }


def _load(file: Path) -> Any:
    try:
        return torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError as error:
        if "mmap can only be used" not in str(error):
            raise
    return torch.load(file, map_location="cpu", weights_only=True)  # written before 2020


def _same(value: Tensor) -> Tensor:
    return value
