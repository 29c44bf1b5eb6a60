"""Files of tensors, opened without reading them: safetensors, and pickles that hold data alone."""

import json
import math
import mmap
import pickle
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .component import StoredTensor

LONGEST_HEADER = 100_000_000  # as the format has it
DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


def open_tensors(file: Path) -> dict[str, StoredTensor]:
    """List the tensors of a file by name, memory-mapped: each is read when it is asked for.

    Raises ValueError for a file that is damaged, holds no tensors, or wants to run code.
    """
    with file.open("rb") as stream:
        start = stream.read(64)
    if start.startswith(b"version https://git-lfs"):
        raise ValueError(
            f"{file} points to a file that was not downloaded: run `git lfs pull` in its folder"
        )
    return _open_safetensors(file) if _is_safetensors(file) else _open_pickle(file)


def read_metadata(file: Path) -> dict[str, str]:
    """Read what a safetensors file says of itself; other files say nothing."""
    return _read_header(file)[0].get("__metadata__", {}) if _is_safetensors(file) else {}


def _is_safetensors(file: Path) -> bool:
    """Say of what kind a file is: by its ending, or by its header, as some are called .ckpt."""
    with file.open("rb") as stream:
        return file.suffix == ".safetensors" or stream.read(9)[8:] == b"{"


def _open_safetensors(file: Path) -> dict[str, StoredTensor]:
    entries, begin = _read_header(file)
    entries.pop("__metadata__", None)
    with file.open("rb") as stream:
        mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
    try:
        tensors = {name: _stored(file, mapped, begin, entry) for name, entry in entries.items()}
        _check_coverage(entries, file.stat().st_size - begin)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is not a whole safetensors file: {error}") from error
    return tensors


def _read_header(file: Path) -> tuple[dict[str, Any], int]:
    """Read eight bytes of length, then JSON that says where each tensor lies; and where it ends."""
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            begin = 8 + int.from_bytes(stream.read(8), "little")
            if not 8 < begin <= min(size, LONGEST_HEADER):
                raise ValueError(f"its header would end at byte {begin} of {size}")
            header = json.loads(stream.read(begin - 8))
    except ValueError as error:
        raise ValueError(f"{file} is not a whole safetensors file: {error}") from error
    if not isinstance(header, dict):
        raise ValueError(f"{file} is not a whole safetensors file: its header is no object")
    return header, begin


def _stored(file: Path, mapped: mmap.mmap, begin: int, entry: Mapping[str, Any]) -> StoredTensor:
    if entry["dtype"] not in DTYPES:
        raise ValueError(f"it holds numbers of an unknown kind, {entry['dtype']}")
    dtype, shape = DTYPES[entry["dtype"]], tuple(entry["shape"])
    first, last = entry["data_offsets"]
    if last - first != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{last - first} bytes cannot be {shape} of {entry['dtype']}")

    def read() -> Tensor:
        count = math.prod(shape)
        if not count:
            return torch.empty(shape, dtype=dtype)
        return torch.frombuffer(mapped, dtype=dtype, count=count, offset=begin + first).view(shape)

    def release() -> None:
        start = -(-(begin + first) // mmap.PAGESIZE) * mmap.PAGESIZE
        length = (begin + last) // mmap.PAGESIZE * mmap.PAGESIZE - start
        if length > 0 and hasattr(mmap, "MADV_DONTNEED"):  # Windows keeps the pages
            mapped.madvise(mmap.MADV_DONTNEED, start, length)

    span = range(begin + first, begin + last)
    return StoredTensor(file, shape, dtype, read, release, span)


def _check_coverage(entries: Mapping[str, Any], size: int) -> None:
    """Hold the tensors to lie one behind the other, up to the end of the file."""
    end = 0
    for first, last in sorted(tuple(entry["data_offsets"]) for entry in entries.values()):
        if first != end:
            raise ValueError(f"a tensor begins at byte {first} of the data, expected {end}")
        end = last
    if end != size:
        raise ValueError(f"its tensors end at byte {end} of the data, and there are {size}")


def _open_pickle(file: Path) -> dict[str, StoredTensor]:
    """List the tensors of a pickle without running what else it may hold."""
    try:
        values = _load(file)
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL (\S+)", str(error))
        if wanted is None:
            raise ValueError(f"{file} is not a whole file of tensors: it is no pickle") from error
        raise ValueError(
            f"{file} is a pickle that wants to run code, so it was not opened ({wanted[1]}); look "
            "for a safetensors file of the same weights, or convert it where you trust its author"
        ) from error
    except Exception as error:  # of any kind, as bytes of any kind may be taken for instructions
        raise ValueError(f"{file} is not a whole file of tensors: {error}") from error
    if isinstance(values, dict) and isinstance(values.get("state_dict"), dict):
        values = values["state_dict"]
    if not isinstance(values, dict):
        raise ValueError(f"{file} holds no tensors by name, but {type(values).__name__}")
    words = values.get("string_to_param")  # a textual inversion of AUTOMATIC1111's web UI
    if isinstance(words, dict):
        values = {f"string_to_param.{name}": value for name, value in words.items()}
    if values.keys() == {"image_proj", "ip_adapter"}:  # an IP-Adapter
        values = {f"{part}.{name}": it for part in values for name, it in values[part].items()}
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
