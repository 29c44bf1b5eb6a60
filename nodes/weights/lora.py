"""LoRA files: what they add to the weights of which layers, in every spelling that is published.

A key names a part, a layer and a piece. Trainers write them with dots or without, and name the
layers as diffusers does or as the original files do; so layers are kept without their dots here,
and meet a network's names in `layer_names`. Pieces are those of LoRA (arXiv:2106.09685), also with
a core for convolutions (LoCon), of LoHa (arXiv:2108.06098) and of LoKr (arXiv:2309.14859).
"""

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .component import StoredTensor
from .key_names import Name, listed
from .stored import open_tensors, read_metadata

_PARTS = {
    "lora_unet_": "unet", "lora_te_": "text_encoder", "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2", "unet_": "unet", "text_encoder_2_": "text_encoder_2",
    "text_encoder_": "text_encoder",
}  # fmt: skip
_PIECE = re.compile(
    r"(?P<layer>.+?)[._](?:"
    r"lora(?:_linear_layer)?[._](?P<low_rank>down|up|mid|A|B)(?:\.default)?\.weight"
    r"|(?P<piece>alpha|hada_w[12]_[ab]|hada_t[12]|lokr_w[12](?:_[ab])?|lokr_t2)"
    r"|(?P<magnitude>dora_scale|lora_magnitude_vector)(?:\.default)?(?:\.weight)?)"
)
_LOW_RANK = {"A": "down", "B": "up"}
# The names of layers in diffusers' files of before PEFT, and what they are called now.
_OLD_LAYERS = {
    r"_processor(?=_to_)": "",
    r"(?<=self_attn)_to_([qkv])$": r"_\1_proj",
    r"(?<=self_attn)_to_out$": "_out_proj",
    r"(?<=attn[12])_to_out$": "_to_out_0",
}
_EXPECTED = (
    "expected pairs such as `unet.….lora_A.weight` and `.lora_B.weight`, `lora_unet_….lora_down."
    "weight` and `.lora_up.weight`, or the pieces `hada_` and `lokr_` of LyCORIS"
)
_PEFT = "lora_adapter_metadata"  # the field in which diffusers keeps the alphas


@dataclass(frozen=True)
class Change:
    """What a LoRA adds to the weight of one layer, in the pieces that it is stored in."""

    pieces: Mapping[str, Tensor]
    scale: float

    def matrix(self) -> Tensor:
        """Multiply the pieces: (outputs, inputs * height * width of the kernel), in float32."""
        pieces = {name: piece.float() for name, piece in self.pieces.items()}
        (kind,) = {name.partition("_")[0] for name in pieces}
        return self.scale * _FORMULAS[kind](pieces)


Changes = Mapping[str, Mapping[str, Change]]
"""The changes of a file by part, such as "unet", and by layer, without dots."""


def read_lora(file: Path, device: torch.device) -> Changes:
    """Read a LoRA; for the meta device its header alone.

    Raises ValueError for a file with tensors that are not understood.
    """
    tensors = open_tensors(file)
    stored, surplus = _sorted(tensors)
    if surplus or not stored:
        found = f"has {listed(surplus, 3)}" if surplus else "holds no tensors"
        raise ValueError(f"{file} is no LoRA that is known: it {found}; {_EXPECTED}")
    said = json.loads(read_metadata(file).get(_PEFT, "{}"))
    changes: dict[str, dict[str, Change]] = defaultdict(dict)
    for (part, layer), pieces in stored.items():
        if "magnitude" in pieces:
            raise ValueError(f"{file} is a DoRA, which is not implemented: it scales {layer}")
        scale = _scale(pieces, said, part, layer)
        parts = {name: piece for name, piece in pieces.items() if name != "alpha"}
        change = Change({name: _empty(piece) for name, piece in parts.items()}, scale)
        _check(file, layer, change, pieces)
        if device.type != "meta":
            change = replace(change, pieces={n: it.read().to(device) for n, it in parts.items()})
        changes[part][layer] = change
    return dict(changes)


def layer_names(layers: Iterable[str], names: Iterable[Name] = ()) -> dict[str, str]:
    """Say which layer of a network is meant, by its name without dots, ours or an original file's.

    A text encoder's layers may have the prefix `text_model`, or not.
    """
    found = {
        _plain(f"{name.original.removesuffix('.weight')}"): name.ours[0].removesuffix(".weight")
        for name in names
        if name.original.endswith(".weight")
    }
    for layer in layers:
        bare = _plain(layer.removeprefix("text_model."))
        found |= {bare: layer, f"text_model_{bare}": layer}
    return found


def _plain(name: str) -> str:
    return name.replace(".", "_")


def _sorted(
    tensors: Mapping[str, StoredTensor],
) -> tuple[dict[tuple[str, str], dict[str, StoredTensor]], list[str]]:
    """Sort tensors by part, layer and piece; gives the keys that are of no known form, too."""
    stored: dict[tuple[str, str], dict[str, StoredTensor]] = defaultdict(dict)
    surplus: list[str] = []
    for key, tensor in tensors.items():
        found = _PIECE.fullmatch(key)
        if found is None:
            surplus.append(key)
            continue
        low_rank = found["low_rank"]
        piece = found["piece"] or "magnitude"
        if low_rank:
            piece = f"lora_{_LOW_RANK.get(low_rank, low_rank)}"
        stored[_place(found["layer"])][piece] = tensor
    return stored, surplus


def _place(layer: str) -> tuple[str, str]:
    """Say of which part a layer is, and what it is called there; without a prefix of the UNet."""
    name = _plain(layer)
    prefix = next((prefix for prefix in _PARTS if name.startswith(prefix)), "")
    name = name.removeprefix(prefix)
    for old, new in _OLD_LAYERS.items():
        name = re.sub(old, new, name)
    return _PARTS.get(prefix, "unet"), name


def _scale(
    pieces: Mapping[str, StoredTensor], said: Mapping[str, Any], part: str, layer: str
) -> float:
    """Give alpha / rank, or 1 where nobody says an alpha."""
    ranks = (pieces[it].shape[0] for it in ("lora_down", "hada_w1_b", "lokr_w2_b", "lokr_w1_b")
             if it in pieces)  # fmt: skip
    rank = next(ranks, None)
    alpha = said.get(f"{part}.lora_alpha")
    for pattern, value in (said.get(f"{part}.alpha_pattern") or {}).items():
        if f"_{layer}".endswith(f"_{_plain(pattern)}"):
            alpha = value
    if "alpha" in pieces:
        alpha = float(pieces["alpha"].read())
    if alpha is None or rank is None:
        return 1.0
    return alpha / (math.sqrt(rank) if said.get(f"{part}.use_rslora") else rank)


def _empty(piece: StoredTensor) -> Tensor:
    return torch.empty(piece.shape, dtype=piece.dtype, device="meta")


def _check(file: Path, layer: str, change: Change, pieces: Mapping[str, StoredTensor]) -> None:
    try:
        change.matrix()
    except (KeyError, ValueError, RuntimeError, IndexError) as error:
        shapes = ", ".join(
            f"{name} {'×'.join(map(str, piece.shape)) or 'a number'}"
            for name, piece in sorted(pieces.items())
        )
        raise ValueError(
            f"{file} is no whole LoRA: the pieces of {layer} do not make a weight: {shapes}"
        ) from error


def _low_rank(pieces: Mapping[str, Tensor]) -> Tensor:
    up, down = pieces["lora_up"].flatten(1), pieces["lora_down"].flatten(1)
    if "lora_mid" in pieces:
        return _around(pieces["lora_mid"], up.T, down)
    return up @ down


def _hadamard(pieces: Mapping[str, Tensor]) -> Tensor:
    return _factor(pieces, "hada_w1", "hada_t1") * _factor(pieces, "hada_w2", "hada_t2")


def _kronecker(pieces: Mapping[str, Tensor]) -> Tensor:
    return torch.kron(_factor(pieces, "lokr_w1", ""), _factor(pieces, "lokr_w2", "lokr_t2"))


def _factor(pieces: Mapping[str, Tensor], name: str, core: str) -> Tensor:
    """Give a factor that is there whole, as a product of two, or of two around a core."""
    if name in pieces:
        return pieces[name].flatten(1)
    first, second = pieces[f"{name}_a"], pieces[f"{name}_b"]
    return _around(pieces[core], first, second) if core in pieces else first @ second


def _around(core: Tensor, outputs: Tensor, inputs: Tensor) -> Tensor:
    """Widen a small kernel's outputs and inputs (Tucker's decomposition)."""
    return torch.einsum("rshw,ro,si->oihw", core, outputs, inputs).flatten(1)


_FORMULAS = {"lora": _low_rank, "hada": _hadamard, "lokr": _kronecker}
