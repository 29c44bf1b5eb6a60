"""Checkpoints from one form to another: single files, folders, precisions."""

from dataclasses import replace
from pathlib import Path

import torch

from graph import write_whole

from .weights import (
    Checkpoint,
    only_part,
    open_checkpoint,
    with_vocabularies,
    without_parts,
    write_single_file,
    write_tensors,
)

HELPERS = {"safety_checker", "image_encoder"}  # original single files never hold these
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


def convert(
    source: str,
    target: Path,
    dtype: str | None = None,
    part: str | None = None,
    family: str | None = None,
) -> str:
    """Write a checkpoint as a single file if `target` ends in .safetensors, else as a folder.

    Tensors are read and written one at a time; `target` appears whole or not at all. Gives a
    report of what was written and what was not. Raises ValueError or FileNotFoundError for what
    cannot be converted, and FileExistsError if `target` is there.
    """
    if target.exists():
        raise FileExistsError(f"{target} is already there; give a new name, or remove it first")
    precision = DTYPES[dtype] if dtype else None
    checkpoint = open_checkpoint(source, family, part)
    if part is not None:
        checkpoint = only_part(checkpoint, part)
    single = target.suffix == ".safetensors"
    left = sorted(HELPERS & checkpoint.components.keys()) if single else []
    kept = {name: it for name, it in checkpoint.components.items() if name not in left}
    files = without_parts(checkpoint.files, left)
    checkpoint = replace(checkpoint, components=kept, files=files)
    write = write_single_file if single else write_folder
    write_whole(target, lambda path: write(path, checkpoint, precision))
    return _report(target, checkpoint, left)


def write_folder(path: Path, checkpoint: Checkpoint, dtype: torch.dtype | None = None) -> None:
    """Write a checkpoint as a folder in diffusers' format; a network alone is the folder itself."""
    whole = "model_index.json" in checkpoint.files
    for name, text in with_vocabularies(checkpoint.files).items():
        file = path / (name if whole else name.split("/", 1)[1])
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    for part, component in checkpoint.components.items():
        stem = "diffusion_pytorch_model" if "_class_name" in component.config else "model"
        folder = path / part if whole else path
        write_tensors(folder / f"{stem}.safetensors", component.tensors, dtype, checkpoint.metadata)


def _report(target: Path, checkpoint: Checkpoint, left: list[str]) -> str:
    lines = [f"{target}: {', '.join(checkpoint.components)}"]
    if checkpoint.families:
        lines[0] += f", taken for {checkpoint.families[0]}"
    if len(checkpoint.families) > 1:
        lines.append(
            f"its tensors are those of {', '.join(checkpoint.families[1:])} too: "
            "say --family NAME if it is one of these"
        )
    left = [*left, *checkpoint.unused]
    if left:
        more = f" and {len(left) - 5} more" if len(left) > 5 else ""
        lines.append(f"left out: {', '.join(left[:5])}{more}")
    return "\n".join(lines)
