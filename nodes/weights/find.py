"""Where the files of a checkpoint are: a folder, a shipped checkpoint, or the hub."""

import json
from importlib.resources import files
from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

NAMES = ("diffusion_pytorch_model", "model")


def find_folder(model: str) -> Path | None:
    """Find the local folder of a model: a path, or the name of a shipped checkpoint."""
    shipped = Path(str(files("graphs"))) / "checkpoints" / model
    return next((path for path in (Path(model).expanduser(), shipped) if path.is_dir()), None)


def find_file(model: str, path: str, revision: str | None = None) -> Path | None:
    """Find one file of a checkpoint, downloading it if the model is a hub repository.

    Gives None where the checkpoint has no such file. Raises FileNotFoundError for a model that is
    neither a folder nor a reachable repository.
    """
    folder = find_folder(model)
    if folder is not None:
        found = folder / path
        return found if found.is_file() else None
    try:
        return Path(hf_hub_download(model, path, revision=revision))
    except LocalEntryNotFoundError as error:
        raise FileNotFoundError(
            f"'{model}' has no file {path} on this machine and the hub cannot be reached; "
            "download it once while online, or give a folder"
        ) from error
    except EntryNotFoundError:
        return None
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise FileNotFoundError(
            f"'{model}' is neither a folder, nor a checkpoint shipped with run-graph "
            f"({', '.join(shipped_checkpoints())}), nor a repository on the hub that you may read"
        ) from error


def shipped_checkpoints() -> list[str]:
    """List the names of the checkpoints that come with run-graph."""
    folder = Path(str(files("graphs"))) / "checkpoints"
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


def find_config(model: str, subfolder: str, name: str, revision: str | None = None) -> Path:
    """Find a component's config: in its folder, else in the root, as flat repositories have it."""
    for path in (f"{subfolder}/{name}", name):
        found = find_file(model, path, revision)
        if found is not None:
            return found
    raise FileNotFoundError(f"'{model}' has neither {subfolder}/{name} nor {name}")


def find_weights(
    model: str, subfolder: str, revision: str | None = None, variant: str | None = None
) -> list[Path]:
    """Find a component's safetensors: one file or the shards that its index names.

    A component without the asked variant falls back to its plain files. Raises FileNotFoundError
    with the names that were looked for.
    """
    looked: list[str] = []
    for kind in dict.fromkeys((variant, None)):
        for folder in (f"{subfolder}/", ""):
            for name in NAMES:
                plain = f"{folder}{name}{f'.{kind}' if kind else ''}.safetensors"
                index = f"{folder}{name}.safetensors.index{f'.{kind}' if kind else ''}.json"
                looked += [plain, index]
                if found := find_file(model, plain, revision):
                    return [found]
                if found := find_file(model, index, revision):
                    return _shards(model, folder, found, revision)
    raise FileNotFoundError(
        f"'{model}' has no weights for {subfolder}; looked for {', '.join(looked)}"
    )


def _shards(model: str, folder: str, index: Path, revision: str | None) -> list[Path]:
    names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    shards = {name: find_file(model, folder + name, revision) for name in names}
    missing = [name for name, found in shards.items() if found is None]
    if missing:
        raise FileNotFoundError(
            f"'{model}': {index.name} names shards that are not there: {', '.join(missing)}"
        )
    return [found for found in shards.values() if found is not None]
