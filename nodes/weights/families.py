"""The families of checkpoints whose original files are understood, read from `families.yaml`."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from .clip_vocabulary import tokenizer_config
from .key_names import Name
from .key_names_text import is_open_clip, text_names, text_shapes
from .key_names_unet import controlnet_names, unet_names, unet_shapes
from .key_names_vae import vae_names, vae_shapes

Config = Mapping[str, Any]
Shapes = dict[str, tuple[int, ...]]

# The parts that a single file can hold: how their tensors are called, what shapes tell them apart.
PARTS: dict[str, tuple[Callable[[Config], list[Name]], Callable[[Config], Shapes]]] = {
    "unet": (unet_names, unet_shapes),
    "controlnet": (controlnet_names, unet_shapes),
    "vae": (vae_names, vae_shapes),
    "text_encoder": (text_names, text_shapes),
    "text_encoder_2": (text_names, text_shapes),
}
_PREFIXES = {
    "unet": "model.diffusion_model.",
    "controlnet": "control_model.",
    "vae": "first_stage_model.",
}
_CLASSES = {
    "unet": "UNet2DConditionModel",
    "controlnet": "ControlNetModel",
    "vae": "AutoencoderKL",
}
_TEXT_ENCODERS = ("text_encoder", "text_encoder_2")


@dataclass(frozen=True)
class Family:
    """What a checkpoint's tensors do not say."""

    name: str
    title: str
    configs: Mapping[str, Config]
    schedulers: Mapping[str, Config]
    tokenizers: Mapping[str, Config]
    pipeline: str | None
    settings: Mapping[str, Any]
    empty: tuple[str, ...]
    marker: str | None
    modelspec: str | None

    def files(self, corrections: Mapping[str, Any]) -> dict[str, str]:
        """Give the small files of the folder that the checkpoint would be, without vocabulary.

        `corrections` are fields of the scheduler's config that the file itself knows better.
        """
        contents: dict[str, Any] = {
            f"{name}/config.json": config for name, config in self.configs.items()
        }
        for name, config in self.schedulers.items():
            corrected = {**config, **corrections} if name == "scheduler" else config
            contents[f"{name}/scheduler_config.json"] = corrected
        for name, config in self.tokenizers.items():
            tokenizer = tokenizer_config(**config)
            marks = ("bos_token", "eos_token", "unk_token", "pad_token")
            contents[f"{name}/tokenizer_config.json"] = tokenizer
            contents[f"{name}/special_tokens_map.json"] = {mark: tokenizer[mark] for mark in marks}
        if self.pipeline:
            contents["model_index.json"] = {"_class_name": self.pipeline} | self._index()
        return {path: json.dumps(value, indent=2) + "\n" for path, value in contents.items()}

    def _index(self) -> dict[str, Any]:
        index: dict[str, Any] = {name: [None, None] for name in self.empty}
        for name, config in {**self.configs, **self.schedulers}.items():
            ours = "_class_name" in config
            kind = config["_class_name"] if ours else config["architectures"][0]
            index[name] = ["diffusers" if ours else "transformers", kind]
        index |= {name: ["transformers", "CLIPTokenizer"] for name in self.tokenizers}
        return dict(sorted(index.items())) | dict(self.settings)


@cache
def known_families() -> dict[str, Family]:
    """Read the families, in the order in which they are tried."""
    text = (files("nodes.weights") / "families.yaml").read_text(encoding="utf-8")
    return {name: _family(name, entry) for name, entry in yaml.safe_load(text)["families"].items()}


def _family(name: str, entry: Mapping[str, Any]) -> Family:
    def having(*parts: str) -> dict[str, Any]:
        return {part: entry[part] for part in parts if part in entry}

    return Family(
        name,
        entry["title"],
        configs=having(*PARTS),
        schedulers=having("scheduler", "low_res_scheduler"),
        tokenizers=having("tokenizer", "tokenizer_2"),
        pipeline=entry.get("pipeline"),
        settings=entry.get("settings", {}),
        empty=tuple(entry.get("empty", ())),
        marker=entry.get("marker"),
        modelspec=entry.get("modelspec"),
    )


def part_names(part: str, config: Config) -> list[Name]:
    """Name every tensor of a part."""
    return PARTS[part][0](config)


def part_shapes(part: str, config: Config) -> Shapes:
    """Give the shapes of a part, under our names, that tell it from others with these names."""
    return PARTS[part][1](config)


def prefixes(configs: Mapping[str, Config]) -> dict[str, str]:
    """Say where in an original file each of these parts is; SDXL numbers its text encoders."""
    found = {part: prefix for part, prefix in _PREFIXES.items() if part in configs}
    for number, part in enumerate(part for part in _TEXT_ENCODERS if part in configs):
        numbered = "text_encoder_2" in configs
        place = f"conditioner.embedders.{number}" if numbered else "cond_stage_model"
        found[part] = f"{place}.{'model' if is_open_clip(configs[part]) else 'transformer'}."
    return found


def has_original_names(part: str, config: Config) -> bool:
    """Say whether a part is of a kind that original single files hold."""
    if part in _TEXT_ENCODERS:
        kind = (config.get("architectures") or ["CLIPTextModel"])[0]
        return kind.startswith("CLIPText") and config.get("hidden_act") in ("gelu", "quick_gelu")
    return part in PARTS and config.get("_class_name") == _CLASSES[part]


def matching_families(configs: Mapping[str, Config]) -> list[str]:
    """Name the families that have the first of these networks, the most alike first."""
    part = next((part for part in PARTS if has_original_names(part, configs.get(part, {}))), None)
    if part is None:
        return []
    structure = _structure(part, configs[part])
    found = {
        name: sum(_differences(configs.get(each, {}), it) for each, it in family.configs.items())
        for name, family in known_families().items()
        if part in family.configs and _structure(part, family.configs[part]) == structure
    }
    return sorted(found, key=lambda name: found[name])


def _structure(part: str, config: Config) -> tuple[list[Name], Shapes]:
    return part_names(part, config), part_shapes(part, config)


def _differences(config: Config, family: Config) -> int:
    return sum(config.get(key, value) != value for key, value in family.items())
