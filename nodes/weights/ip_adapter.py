"""IP-Adapter files: a projection of pictures, and layers for every attention to the text."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .component import StoredTensor
from .key_names import listed
from .stored import open_tensors

_LAYER = re.compile(r"ip_adapter\.(\d+)\.to_([kv])_ip\.weight")


@dataclass(frozen=True)
class StoredIPAdapter:
    """The tensors of a file: the projection's by name, and keys and values in the file's order."""

    projection: Mapping[str, StoredTensor]
    layers: list[tuple[StoredTensor, StoredTensor]]


def open_ip_adapter(file: Path) -> StoredIPAdapter:
    """Open an IP-Adapter without reading its tensors.

    Raises ValueError for a file with tensors that are not understood, such as those of FaceID.
    """
    projection: dict[str, StoredTensor] = {}
    layers: dict[tuple[int, str], StoredTensor] = {}
    surplus: list[str] = []
    for name, tensor in open_tensors(file).items():
        found = _LAYER.fullmatch(name)
        if found:
            layers[int(found[1]), found[2]] = tensor
        elif name.startswith("image_proj."):
            projection[name.removeprefix("image_proj.")] = tensor
        else:
            surplus.append(name)
    numbers = sorted({number for number, _ in layers})
    if surplus or not projection or len(layers) != 2 * len(numbers):
        has = f"has {listed(surplus, 3)}" if surplus else "lacks tensors"
        raise ValueError(
            f"{file} is no IP-Adapter that is known: it {has}; expected `image_proj.…` and pairs "
            "of `ip_adapter.….to_k_ip.weight` and `.to_v_ip.weight`"
        )
    return StoredIPAdapter(projection, [(layers[n, "k"], layers[n, "v"]) for n in numbers])
