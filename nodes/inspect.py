"""What a checkpoint is, from its configs and the headers of its files: no weight is read."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

from .weights import (
    Component,
    StoredTensor,
    find_component,
    find_file,
    find_folder,
    find_single_file,
    known_families,
    matching_families,
    open_tensors,
    read_single_file,
    small_files,
)

Report = dict[str, Any]

_LORA = re.compile(r"(.*)[._](lora_down|lora_A|lora\.down)(\.\w+)?\.weight")
_TEXT_PREFIXES = ("lora_te", "text_encoder", "te_", "te1_", "te2_")
_READS_TEXT = re.compile(r".*attn2[._](processor[._])?to_k")
_BASES = {
    768: "Stable Diffusion 1.x",
    1024: "Stable Diffusion 2.x",
    1280: "Stable Diffusion XL refiner",
    2048: "Stable Diffusion XL",
}


def inspect_checkpoint(model: str) -> Report:
    """Say what a checkpoint is: a folder, a single file, a LoRA, or a repository on the hub.

    Of a repository only the small files are downloaded; weights count where they are on this
    machine. Raises FileNotFoundError or ValueError for what is not there or not understood.
    """
    single = find_single_file(model)
    families: list[str] = []
    if single is None:
        files = small_files(model)
        report: Report = {"kind": "folder" if find_folder(model) else "repository"}
        components = dict(_components_here(model, files))
    else:
        lora = inspect_lora(open_tensors(single))
        if lora:
            return {"path": model, **lora}
        checkpoint = read_single_file(single)
        families = list(checkpoint.families)
        files, components = checkpoint.files, checkpoint.components
        report = {"kind": "single file", "left_out": len(checkpoint.unused)}
    configs, schedulers = _parsed(files, "config.json"), _parsed(files, "scheduler_config.json")
    index = json.loads(files.get("model_index.json", "{}"))
    return {
        "path": model,
        **report,
        "pipeline": index.get("_class_name"),
        "families": families or matching_families(configs)[:1],
        **_facts(configs, schedulers),
        "components": {
            part: _measure(_kind(config, index.get(part)), components.get(part))
            for part, config in sorted(configs.items())
        },
    }


def _components_here(model: str, files: Mapping[str, str]) -> Iterator[tuple[str, Component]]:
    """Open the components whose weights are on this machine."""
    folder = find_folder(model)
    if folder is None:
        known = "model_index.json" if "model_index.json" in files else "config.json"
        found = find_file(model, known)
        folder = found.parent if found else None
    for part in _parsed(files, "config.json"):
        try:
            yield part, find_component(str(folder), part)
        except FileNotFoundError:
            continue


def _parsed(files: Mapping[str, str], name: str) -> dict[str, dict[str, Any]]:
    return {
        path.split("/")[0]: json.loads(text)
        for path, text in files.items()
        if path.endswith(f"/{name}")
    }


def _facts(
    configs: Mapping[str, dict[str, Any]], schedulers: Mapping[str, dict[str, Any]]
) -> Report:
    """Collect what a user of the checkpoint has to know."""
    scheduler, unet = schedulers.get("scheduler", {}), configs.get("unet", {})
    size = unet.get("sample_size")
    if "vae" in configs and isinstance(size, int):
        size *= 2 ** (len(configs["vae"]["block_out_channels"]) - 1)
    elif "cross_attention_dim" in unet:
        size = None  # that of latents, and how much smaller they are is not known
    return {
        "scheduler": scheduler.get("_class_name"),
        "prediction_type": scheduler.get("prediction_type", "epsilon") if scheduler else None,
        "native_size": size,
    }


def _kind(config: Mapping[str, Any], entry: Any) -> str:
    """Name the class of a network, as its config or the index of its folder does."""
    named = config.get("_class_name") or (config.get("architectures") or [None])[0]
    return str(named or (entry[1] if entry else config.get("model_type")))


def _measure(kind: str, component: Component | None) -> Report:
    if component is None:
        return {"class": kind, "parameters": None, "bytes": None, "precision": None}
    tensors = component.tensors.values()
    kinds: Counter[str] = Counter()
    for tensor in tensors:
        kinds[str(tensor.dtype).removeprefix("torch.")] += prod(tensor.shape)
    return {
        "class": kind,
        "parameters": sum(kinds.values()),
        "bytes": sum(prod(tensor.shape) * tensor.dtype.itemsize for tensor in tensors),
        "precision": [name for name, _ in kinds.most_common()],
    }


def inspect_lora(tensors: Mapping[str, StoredTensor]) -> Report | None:
    """Say what a LoRA (arXiv:2106.09685) changes, or None if the tensors are none."""
    first = {match[1]: tensors[key] for key in tensors if (match := _LORA.fullmatch(key))}
    if not first:
        return None
    texts = [name for name in first if name.startswith(_TEXT_PREFIXES)]
    widths = {each.shape[1] for name, each in first.items() if _READS_TEXT.fullmatch(name)}
    return {
        "kind": "LoRA",
        "base": next((_BASES[width] for width in widths if width in _BASES), None),
        "ranks": sorted({tensor.shape[0] for tensor in first.values()}),
        "layers": {"unet": len(first) - len(texts), "text_encoder": len(texts)},
        "parameters": sum(prod(tensor.shape) for tensor in tensors.values()),
        "precision": sorted({str(t.dtype).removeprefix("torch.") for t in tensors.values()}),
    }


def describe_checkpoint(report: Report) -> str:
    """Print a report of `inspect_checkpoint` for people."""
    lines = [f"{report['path']}: {report['kind']}"]
    if report["kind"] == "LoRA":
        lines.append(f"  base         {report['base'] or 'unknown'}")
        lines.append(f"  rank         {', '.join(map(str, report['ranks']))}")
        lines += [f"  {part:<12} {count} layers" for part, count in report["layers"].items()]
        lines.append(f"  parameters   {_short(report['parameters'])}")
        return "\n".join([*lines, f"  precision    {', '.join(report['precision'])}"])
    families = report["families"]
    lines.append(f"  family       {_title(families[0]) if families else 'none that is known'}")
    if report["kind"] == "single file" and len(families) > 1:
        lines.append(f"               its tensors could be {', '.join(families[1:])}, too")
    size = report["native_size"]
    facts = {
        "pipeline": report["pipeline"],
        "scheduler": report["scheduler"],
        "prediction": report["prediction_type"],
        "native size": f"{size}×{size}" if size else None,
        "left out": f"{report['left_out']} tensors" if report.get("left_out") else None,
    }
    lines += [f"  {name:<12} {value}" for name, value in facts.items() if value]
    for part, measured in report["components"].items():
        found = measured["parameters"] is not None
        weights = (
            f"{_short(measured['parameters'])} parameters, {_short(measured['bytes'])}B, "
            f"{', '.join(measured['precision'])}"
            if found
            else "its weights are not on this machine"
        )
        lines.append(f"  {part:<15} {measured['class']:<28} {weights}")
    return "\n".join(lines)


def _title(family: str) -> str:
    return f"{known_families()[family].title} ({family})"


def _short(number: int) -> str:
    """Print a number with three digits: 860 M."""
    value, unit = float(number), 0
    while value >= 999.5:
        value, unit = value / 1000, unit + 1
    return f"{value:.3g} {['', 'k', 'M', 'G', 'T'][unit]}"
