"""Whole checkpoints in one file, as their authors published them: what is in it, and as what.

A file that `run-graph convert` wrote carries the small files of its folder in its metadata. Any
other is recognised by the names and shapes of its tensors; nothing is asked of the network.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from .checkpoint import Checkpoint, without_parts
from .component import Component, StoredTensor
from .families import (
    PARTS,
    Config,
    Family,
    known_families,
    part_names,
    part_shapes,
    prefixes,
)
from .key_names import Name, listed, to_ours, unchanged
from .stored import open_tensors, read_metadata

FILES = "run-graph.files"  # the field of the metadata: small files by path, as a JSON object
_EMA = "model_ema.diffusion_model"  # followed by the tensor's name without its dots
_OTHER_SPELLINGS = {"first_stage_model.": "vae."}
_STARTS = (
    "model.diffusion_model.", _EMA, "first_stage_model.", "vae.", "control_model.",
    "cond_stage_model.", "conditioner.embedders.",
)  # fmt: skip
_TEXT_IGNORED = (
    r"(text_model\.)?embeddings\.position_ids|attn_mask|logit_scale|text_projection(\.weight)?"
    r"|transformer\.resblocks\.23\..*"  # the last layer of Stable Diffusion 2, which is not read
)
_IGNORED = {"vae": r"loss\..*", "text_encoder": _TEXT_IGNORED, "text_encoder_2": _TEXT_IGNORED}
_LORA = r"(.*[._])?(lora_down|lora_up|lora_A|lora_B|lora\.down|lora\.up|hada_w1_a|lokr_w1)\b.*"
_OTHERS = {
    _LORA: "a LoRA, which changes a model and is none",
    r"(model\.diffusion_model\.)?double_blocks\.0\..*": "FLUX",
    r"(model\.diffusion_model\.)?joint_blocks\.0\..*": "Stable Diffusion 3",
    r"(emb_params|string_to_param.*|clip_[lg])": "a textual inversion, which is words and no model",
}


@dataclass(frozen=True)
class _Reading:
    """A file, read as one family; `wrong` says what speaks against it."""

    family: Family
    components: Mapping[str, Component]
    used: frozenset[str]
    wrong: list[str]


def find_single_file(model: str) -> Path | None:
    """Find a checkpoint that is one file on this machine."""
    path = Path(model).expanduser()
    return path if path.is_file() else None


def open_single_file(path: Path, name: str) -> Component:
    """Open a part of a single file, such as "unet", without reading its tensors.

    Raises ValueError for a file of no known family, or without this part.
    """
    found = read_single_file(path, part=name).components
    if name not in found:
        raise ValueError(f"{path} has no {name}, only {', '.join(found)}")
    return replace(found[name], file=path)


def read_single_file(path: Path, family: str | None = None, part: str | None = None) -> Checkpoint:
    """Open a single file: the networks in it, and the small files that its folder would have.

    `family` says what tensors cannot, such as the prediction of Stable Diffusion 2; `part` what is
    looked for, as some files hold a ControlNet beside the model that it was trained on. Raises
    ValueError for a file of no known family.
    """
    tensors, metadata = open_tensors(path), read_metadata(path)
    files = metadata.pop(FILES, None)
    if family is None and files is not None:
        return _read_own(path, tensors, json.loads(files), metadata)
    return recognise(path, tensors, metadata, family, part)


def recognise(
    path: Path,
    tensors: Mapping[str, StoredTensor],
    metadata: Mapping[str, str],
    family: str | None = None,
    part: str | None = None,
) -> Checkpoint:
    """Recognise the tensors of a file by their names and shapes, and by nothing else."""
    for pattern, kind in _OTHERS.items():
        if any(re.fullmatch(pattern, key) for key in tensors):
            raise ValueError(f"{path} is {kind}; it cannot be read as a checkpoint in one file")
    candidates = _candidates(family, part)
    names = _fitting(frozenset((key, it.shape) for key, it in tensors.items()), family)
    known = [each for each in candidates if each.name in names]
    fitting = [reading for reading in _readings(tensors, known) if not reading.wrong]
    if not fitting:
        raise ValueError(_unknown(path, tensors, _readings(tensors, candidates), family))
    said = metadata.get("modelspec.architecture")
    fitting.sort(key=lambda reading: said is None or reading.family.modelspec != said)  # stable
    chosen = fitting[0]
    return Checkpoint(
        chosen.components,
        _small_files(chosen, _corrections(tensors, metadata)),
        metadata,
        tuple(dict.fromkeys(reading.family.name for reading in fitting)),
        tuple(sorted(tensors.keys() - chosen.used)),
    )


@lru_cache(maxsize=8)
def _fitting(shapes: frozenset[tuple[str, tuple[int, ...]]], family: str | None) -> frozenset[str]:
    """Name the families that a file may be of; a run opens it anew for each of its parts."""
    tensors = {
        key: StoredTensor(Path(), shape, torch.float32, torch.empty) for key, shape in shapes
    }
    readings = _readings(tensors, _candidates(family, None))
    return frozenset(reading.family.name for reading in readings if not reading.wrong)


def _candidates(family: str | None, part: str | None) -> list[Family]:
    known = known_families()
    if family is None:
        return [each for each in known.values() if part not in PARTS or part in each.configs]
    if family not in known:
        raise ValueError(f"there is no family '{family}'; there are {', '.join(known)}")
    return [known[family]]


def _read_own(
    path: Path,
    tensors: Mapping[str, StoredTensor],
    files: Mapping[str, str],
    metadata: Mapping[str, str],
) -> Checkpoint:
    configs = {part: json.loads(files[f"{part}/config.json"]) for part in _parts_of(files)}
    components, used, wrong = _read_parts(tensors, configs)
    wrong += [f"missing {part}" for part in configs.keys() - components.keys()]
    if wrong:
        raise ValueError(f"{path} does not fit the configs in its metadata: {listed(wrong)}")
    return Checkpoint(components, files, metadata, unused=tuple(sorted(tensors.keys() - used)))


def _parts_of(files: Iterable[str]) -> list[str]:
    return [part for part in PARTS if f"{part}/config.json" in files]


def _readings(
    tensors: Mapping[str, StoredTensor], candidates: Iterable[Family]
) -> Iterable[_Reading]:
    """Read the file as each of these families, whole; or as each of their parts, without prefix."""
    whole = any(key.startswith(_STARTS) for key in tensors)
    for family in candidates:
        if whole:
            components, used, wrong = _read_parts(tensors, family.configs)
            if family.marker and family.marker not in tensors:
                wrong.append(f"missing {family.marker}")
            if components:
                yield _Reading(family, components, frozenset(used), wrong)
            continue
        for part, config in family.configs.items():
            names = part_names(part, config)
            for spelling in (names, unchanged(names)):
                component, wrong = _read_part(part, config, tensors, spelling)
                yield _Reading(family, {part: component}, frozenset(tensors), wrong)


def _read_parts(
    tensors: Mapping[str, StoredTensor], configs: Mapping[str, Config]
) -> tuple[dict[str, Component], set[str], list[str]]:
    """Read the parts that are in a file; gives the tensors used, and what does not fit."""
    components: dict[str, Component] = {}
    used: set[str] = set()
    wrong: list[str] = []
    for part, prefix in prefixes(configs).items():
        names = part_names(part, configs[part])
        taken = _under(tensors, prefix) or _under(tensors, _OTHER_SPELLINGS.get(prefix, prefix))
        if part == "unet" and not taken:
            taken = _ema(tensors, names)
        if taken:
            found = {short: tensors[key] for short, key in taken.items()}
            components[part], misfits = _read_part(part, configs[part], found, names)
            used |= set(taken.values())
            wrong += [f"{part}: {misfit}" for misfit in misfits]
    return components, used, wrong


def _under(tensors: Iterable[str], prefix: str) -> dict[str, str]:
    return {key.removeprefix(prefix): key for key in tensors if key.startswith(prefix)}


def _ema(tensors: Mapping[str, StoredTensor], names: Iterable[Name]) -> dict[str, str]:
    """Find the averaged weights of a file that has no others."""
    keys = {name.original: _EMA + name.original.replace(".", "") for name in names}
    return {short: key for short, key in keys.items() if key in tensors}


def _read_part(
    part: str, config: Config, tensors: Mapping[str, StoredTensor], names: list[Name]
) -> tuple[Component, list[str]]:
    bare = ("embeddings.", "encoder.layers.", "final_layer_norm.")  # as the oldest files have it
    if part.startswith("text_encoder") and any(key.startswith(bare) for key in tensors):
        tensors = {
            f"text_model.{key}" if key.startswith(bare) else key: tensor
            for key, tensor in tensors.items()
        }
    expected = {name.original for name in names}
    ignored = _IGNORED.get(part, "")
    wrong = [f"missing {key}" for key in sorted(expected - tensors.keys())]
    wrong += [
        f"surplus {key}"
        for key in sorted(tensors.keys() - expected)
        if not re.fullmatch(ignored, key)
    ]
    ours = to_ours(tensors, names)
    wrong += [
        f"{key} is {_sides(ours[key].shape)}, expected {_sides(shape)}"
        for key, shape in part_shapes(part, config).items()
        if key in ours and ours[key].shape != shape
    ]
    return Component(config, ours), wrong


def _sides(shape: tuple[int, ...]) -> str:
    return "×".join(str(side) for side in shape)


def _corrections(tensors: Iterable[str], metadata: Mapping[str, str]) -> dict[str, Any]:
    """Read what a file says of its prediction: by metadata, or by tensors that stand for words."""
    words = {"v": "v_prediction", "epsilon": "epsilon"}
    said = words.get(metadata.get("modelspec.prediction_type", ""))
    corrections: dict[str, Any] = {"prediction_type": said} if said else {}
    if "v_pred" in tensors:
        corrections["prediction_type"] = "v_prediction"
    if "ztsnr" in tensors:
        corrections |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    return corrections


def _small_files(reading: _Reading, corrections: Mapping[str, Any]) -> dict[str, str]:
    files = reading.family.files(corrections)
    if "unet" not in reading.components:
        return {path: files[path] for path in files if path.split("/")[0] in reading.components}
    return without_parts(files, set(_parts_of(files)) - reading.components.keys())


def _unknown(
    path: Path,
    tensors: Mapping[str, StoredTensor],
    readings: Iterable[_Reading],
    family: str | None,
) -> str:
    nearest = min(readings, key=lambda reading: len(reading.wrong), default=None)
    if nearest is not None and family is not None:
        return f"{path} is not of the family '{family}': {listed(nearest.wrong)}"
    if nearest is not None and len(nearest.wrong) < len(tensors):
        return (
            f"{path} is of no known family; the nearest is '{nearest.family.name}', "
            f"and against it speaks: {listed(nearest.wrong)}"
        )
    found = [f"{key} {_sides(tensor.shape)}" for key, tensor in tensors.items()]
    return (
        f"{path} is of no known family: it holds {len(found)} tensors, "
        f"{listed(sorted(found), 3) or 'none'}; known are {', '.join(known_families())}"
    )
