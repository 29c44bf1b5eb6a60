"""Where the files of a checkpoint are: a folder, a shipped checkpoint, or the hub."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from .component import Component, StoredConfig
from .shipped import shipped_folder
from .single_file import find_single_file, open_single_file, read_single_file
from .stored import open_tensors

NAMES = ("diffusion_pytorch_model", "model", "pytorch_model")
log = logging.getLogger("run-graph")


def find_folder(model: str) -> Path | None:
    """Find the local folder of a model: a path, or the name of a shipped checkpoint."""
    places = (Path(model).expanduser(), shipped_folder() / model)
    return next((path for path in places if path.is_dir()), None)


def find_file(model: str, path: str, revision: str | None = None) -> Path | None:
    """Find one file of a checkpoint, downloading it if the model is a hub repository.

    Gives None where the checkpoint has no such file. Raises FileNotFoundError for a model that is
    neither a folder nor a reachable repository.
    """
    folder = find_folder(model)
    if folder is None:
        # Its library takes long to import: what is on this machine should not wait for it.
        from .hub import find_repository

        return find_repository(model, revision).find(path)
    found = folder / path
    return found if found.is_file() else None


def find_config(model: str, subfolder: str, name: str, revision: str | None = None) -> Path:
    """Find a component's config: in its folder, else in the root, as flat repositories have it."""
    for path in (f"{subfolder}/{name}", name):
        found = find_file(model, path, revision)
        if found is not None:
            return found
    raise FileNotFoundError(f"'{model}' has neither {subfolder}/{name} nor {name}")


def read_config(model: str, subfolder: str, name: str, revision: str | None = None) -> StoredConfig:
    """Read a component's config; raises ValueError for a file that is no JSON object."""
    single = find_single_file(model)
    if single is not None:
        files = read_single_file(single).files
        if f"{subfolder}/{name}" not in files:
            raise FileNotFoundError(f"{single} has no {subfolder}")
        return StoredConfig(json.loads(files[f"{subfolder}/{name}"]), single)
    path = find_config(model, subfolder, name, revision)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds no config, but {type(values).__name__}")
    return StoredConfig(cast("dict[str, Any]", values), path)


def find_files(
    model: str, subfolder: str, names: Sequence[str], revision: str | None = None
) -> list[Path]:
    """Find those files of a component that there are, in one folder on this machine.

    Raises FileNotFoundError if none of `names` is there.
    """
    looked = [find_file(model, f"{subfolder}/{name}", revision) for name in names]
    found = [path for path in looked if path is not None]
    if not found:
        raise FileNotFoundError(f"'{model}' has none of {', '.join(names)} in {subfolder}")
    return found


def find_component(
    model: str, subfolder: str, revision: str | None = None, variant: str | None = None
) -> Component:
    """Find a component: its config, and its tensors without reading them.

    Raises FileNotFoundError for what is missing, and ValueError for a damaged file.
    """
    single = find_single_file(model)
    if single is not None:
        return open_single_file(single, subfolder)
    config = read_config(model, subfolder, "config.json", revision)
    files = find_weights(model, subfolder, revision, variant)
    tensors = {name: tensor for file in files for name, tensor in open_tensors(file).items()}
    return Component(config.values, tensors, config.file)


def find_weights(
    model: str, subfolder: str, revision: str | None = None, variant: str | None = None
) -> list[Path]:
    """Find the files of a component's weights: one, or the shards that its index names.

    Safetensors before pickles. A component without the asked variant falls back to its plain
    files, and says so. Raises FileNotFoundError with the names that were looked for.
    """
    looked: list[str] = []
    for kind in dict.fromkeys((variant, None)):
        for ending in ("safetensors", "bin"):
            for folder in (f"{subfolder}/", ""):
                for name in NAMES:
                    for path in _spellings(f"{folder}{name}", ending, kind):
                        looked.append(path)
                        found = find_file(model, path, revision)
                        if found is None:
                            continue
                        if kind != variant:
                            log.warning(
                                "'%s' has no variant '%s' of %s: its plain files are used",
                                model, variant, subfolder,
                            )  # fmt: skip
                        if found.suffix != ".json":
                            return [found]
                        return _shards(model, folder, found, revision)
    raise FileNotFoundError(
        f"'{model}' has no weights for {subfolder}; looked for {', '.join(looked)}"
    )


def _spellings(stem: str, ending: str, variant: str | None) -> list[str]:
    """Name the files that weights may be in: whole, by an index, by an index as it was once."""
    if variant is None:
        return [f"{stem}.{ending}", f"{stem}.{ending}.index.json"]
    return [
        f"{stem}.{variant}.{ending}",
        f"{stem}.{ending}.index.{variant}.json",
        f"{stem}.{variant}.{ending}.index.json",
    ]


def _shards(model: str, folder: str, index: Path, revision: str | None) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    except (ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"{index} is no index of shards: {error}") from error
    shards = {name: find_file(model, folder + name, revision) for name in names}
    missing = [name for name, found in shards.items() if found is None]
    if missing:
        raise FileNotFoundError(
            f"'{model}': {index.name} names shards that are not there: {', '.join(missing)}"
        )
    return [found for found in shards.values() if found is not None]
