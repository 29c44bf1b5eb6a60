"""A checkpoint as a whole, wherever it comes from."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from .component import Component


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint: its networks, and its small files by their paths in a folder.

    `metadata` is what its files say of themselves, such as `modelspec.title`. `families` names
    those that a single file may be of, first the one that it is taken for; `unused` the tensors
    that are in none of its networks, and vocabularies that are no text.
    """

    components: Mapping[str, Component]
    files: Mapping[str, str]
    metadata: Mapping[str, str] = field(default_factory=dict)
    families: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()


def only_part(checkpoint: Checkpoint, part: str) -> Checkpoint:
    """Give one network of a checkpoint, with the small files that are its own.

    Raises ValueError if there is no such part.
    """
    if part not in checkpoint.components:
        raise ValueError(f"there is no part '{part}', only {', '.join(checkpoint.components)}")
    files = {path: text for path, text in checkpoint.files.items() if path.startswith(f"{part}/")}
    return replace(checkpoint, components={part: checkpoint.components[part]}, files=files)


def without_parts(files: Mapping[str, str], absent: Iterable[str]) -> dict[str, str]:
    """Leave parts out of a checkpoint's small files; its index then says that they are none."""
    gone = set(absent)
    kept = {path: text for path, text in files.items() if path.split("/")[0] not in gone}
    if gone and "model_index.json" in kept:
        index = json.loads(kept["model_index.json"])
        index |= {part: [None, None] for part in gone & index.keys()}
        kept["model_index.json"] = json.dumps(index, indent=2) + "\n"
    return kept
