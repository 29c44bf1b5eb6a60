"""Files of repositories on the hub: from the cache where they are, else downloaded."""

import logging
import math
import re
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import (
    HfApi,
    constants,
    hf_hub_download,
    snapshot_download,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import repo_folder_name

from .shipped import nearest_shipped, shipped_checkpoints

SECONDS_FOR_AN_ANSWER = 10
SECONDS_OF_A_REFUSAL = 30
_refusals: dict[tuple[str, str | None, str, bool], tuple[float, str]] = {}
log = logging.getLogger("run-graph")


class Listing(NamedTuple):
    """What the hub says of a repository: its commit, and the files it has."""

    commit: str
    files: frozenset[str]


@dataclass(frozen=True)
class Repository:
    """A repository at one commit."""

    name: str
    commit: str
    reachable: bool
    files: frozenset[str] | None = None

    def find(self, path: str) -> Path | None:
        """Find one file, downloading it if need be; None if the repository does not have it."""
        cached = try_to_load_from_cache(self.name, path, revision=self.commit)
        if isinstance(cached, str):
            return Path(cached)
        if not self.reachable:
            return None
        files = _ask(self.name, self.commit).files if self.files is None else self.files
        if path not in files:
            return None
        return Path(hf_hub_download(self.name, path, revision=self.commit))


def find_repository(name: str, revision: str | None = None) -> Repository:
    """Find a repository: the hub is asked once in a process, the cache serves without network.

    Raises FileNotFoundError for a repository that is neither on this machine nor reachable; for
    half a minute that is not asked again, because a run looks for the files of every part.
    """
    asked = (name, revision, constants.HF_HUB_CACHE, constants.HF_HUB_OFFLINE)
    moment, message = _refusals.get(asked, (-math.inf, ""))
    if time.monotonic() - moment < SECONDS_OF_A_REFUSAL:
        raise FileNotFoundError(message)
    try:
        return _find(*asked)
    except FileNotFoundError as error:
        _refusals[asked] = time.monotonic(), str(error)
        raise


@cache
def _find(name: str, revision: str | None, cache_folder: str, offline: bool) -> Repository:
    if revision is not None and re.fullmatch("[0-9a-f]{40}", revision) and not offline:
        return Repository(name, revision, reachable=True)  # a commit cannot change: ask nobody
    try:
        if not offline:
            found = _ask(name, revision)
            _remember(
                Path(cache_folder), name, revision or constants.DEFAULT_REVISION, found.commit
            )
            return Repository(name, found.commit, reachable=True, files=found.files)
    except RevisionNotFoundError as error:
        raise FileNotFoundError(f"'{name}' has no revision '{revision}'") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise FileNotFoundError(_nowhere(name)) from error
    except Exception as error:  # no answer, of whatever HTTP library: the cache may serve
        log.info("the hub gives no answer about '%s': %s", name, error)
    try:
        cached = snapshot_download(
            name, revision=revision, cache_dir=cache_folder, local_files_only=True
        )
    except HFValidationError as error:
        raise FileNotFoundError(_nowhere(name)) from error
    except LocalEntryNotFoundError as error:
        raise FileNotFoundError(_unreachable(name)) from error
    return Repository(name, Path(cached).name, reachable=False)


def _remember(cache_folder: Path, name: str, branch: str, commit: str) -> None:
    """Note in the cache which commit a branch is at, so that it is found without network."""
    note = cache_folder / repo_folder_name(repo_id=name, repo_type="model") / "refs" / branch
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(commit)


@cache
def _ask(name: str, revision: str | None) -> Listing:
    found = HfApi().model_info(name, revision=revision, timeout=SECONDS_FOR_AN_ANSWER)
    return Listing(str(found.sha), frozenset(file.rfilename for file in found.siblings or ()))


def _unreachable(name: str) -> str:
    return (
        f"{_suggestion(name)}'{name}' is not on this machine and the hub cannot be reached; "
        "download it once while online, or give a folder"
    )


def _nowhere(name: str) -> str:
    return (
        f"{_suggestion(name)}'{name}' is neither a folder, nor a checkpoint shipped with run-graph "
        f"({', '.join(shipped_checkpoints())}), nor a repository on the hub that you may read"
    )


def _suggestion(name: str) -> str:
    near = nearest_shipped(name)
    return f"did you mean '{near}'? " if near else ""
