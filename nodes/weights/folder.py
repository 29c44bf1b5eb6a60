"""A whole folder in diffusers' format, as a checkpoint."""

import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .checkpoint import Checkpoint
from .clip_vocabulary import clip_merges, clip_vocabulary
from .find import find_component, find_file, find_files
from .other_tokenizer import SENTENCEPIECE, VOCABULARIES, read_other_tokenizer
from .single_file import find_single_file, read_single_file
from .stored import read_metadata
from .tokenizer import CLIP, TOKENIZER_FILES, Tokenizer, Vocabulary, make_tokenizer, parse_file

_SMALL_FILES = (
    "config.json",
    "scheduler_config.json",
    "preprocessor_config.json",
    *TOKENIZER_FILES,
    "vocab.txt",
)
INDEX, CONFIG = "model_index.json", "tokenizer_config.json"

# What a network is called in a folder when it is there alone.
_PARTS = {
    "UNet2DConditionModel": "unet",
    "UNet2DModel": "unet",
    "ControlNetModel": "controlnet",
    "AutoencoderKL": "vae",
    "CLIPTextModel": "text_encoder",
    "CLIPTextModelWithProjection": "text_encoder_2",
}


def open_checkpoint(
    model: str, family: str | None = None, part: str | None = None, revision: str | None = None
) -> Checkpoint:
    """Open a whole checkpoint: a single file, a folder, a shipped one or a hub repository.

    Raises FileNotFoundError or ValueError with what is missing or not understood.
    """
    single = find_single_file(model)
    if single is not None:
        return read_single_file(single, family, part)
    if family is not None:
        raise ValueError(f"'{model}' is no single file: its configs say what it is, no family")
    files = small_files(model, revision)
    parts = [path.split("/")[0] for path in files if path.endswith("/config.json")]
    wanted = [each for each in parts if part in (None, each)]
    components = {each: find_component(model, each, revision) for each in wanted}
    metadata: dict[str, str] = {}
    for file in {tensor.file for it in components.values() for tensor in it.tensors.values()}:
        metadata |= read_metadata(file)
    places = {f"{path.split('/')[0]}/{name}" for path in files for name in SENTENCEPIECE}
    binary = sorted(place for place in places if find_file(model, place, revision))
    return Checkpoint(components, files, metadata, unused=tuple(binary))


def small_files(model: str, revision: str | None = None) -> dict[str, str]:
    """Read the small files of a folder: its index, its configs, its tokenizer."""
    index = find_file(model, INDEX, revision)
    if index is None:
        config = find_file(model, "config.json", revision)
        if config is None:
            raise FileNotFoundError(f"'{model}' has neither {INDEX} nor config.json")
        text = config.read_text(encoding="utf-8")
        values = json.loads(text)
        kind = values.get("_class_name") or (values.get("architectures") or ["model"])[0]
        return {f"{_PARTS.get(kind, kind)}/config.json": text}
    text = index.read_text(encoding="utf-8")
    found = {INDEX: text}
    for part, entry in json.loads(text).items():
        if isinstance(entry, list) and len(entry) == 2 and entry[1] is not None:
            for name in _SMALL_FILES:
                path = find_file(model, f"{part}/{name}", revision)
                path = path or _in_root(model, part, name, revision)
                if path is not None:
                    found[f"{part}/{name}"] = path.read_text(encoding="utf-8")
    return found


def _in_root(model: str, part: str, name: str, revision: str | None) -> Path | None:
    """Find the file of a flat repository, such as google/ddpm-cat-256."""
    flat = {"unet": "config.json", "scheduler": "scheduler_config.json"}
    return find_file(model, name, revision) if flat.get(part) == name else None


def find_tokenizer(model: str, subfolder: str, revision: str | None = None) -> list[Path]:
    """Find the files that a tokenizer is in; raises FileNotFoundError if there is none of them."""
    single = find_single_file(model)
    names = dict.fromkeys((*TOKENIZER_FILES, *VOCABULARIES))
    return [single] if single else find_files(model, subfolder, list(names), revision)


def read_tokenizer(model: str, subfolder: str, files: list[Path]) -> Tokenizer:
    """Read a tokenizer of the files that `find_tokenizer` found.

    Raises ValueError for a file that is damaged, or without this tokenizer.
    """
    if find_single_file(model) is None:
        known = (file for file in files if file.name in TOKENIZER_FILES)
        texts, vocabulary = {file.name: file.read_text(encoding="utf-8") for file in known}, None
    else:
        start = f"{subfolder}/"
        small = read_single_file(files[0]).files
        texts = {path.removeprefix(start): small[path] for path in small if path.startswith(start)}
        vocabulary = Vocabulary(clip_vocabulary(), clip_merges())
        if not texts:
            raise ValueError(f"{files[0]} has no {subfolder}")
    try:
        config = parse_file(CONFIG, texts.get(CONFIG, "{}"))
        if config.get("tokenizer_class", CLIP[0]) not in CLIP:
            return read_other_tokenizer(files, config)
        with _uncollected():
            return make_tokenizer(texts, vocabulary)
    except ValueError as error:
        raise ValueError(f"{subfolder} of '{model}': {error}") from error


@contextmanager
def _uncollected() -> Iterator[None]:
    """Hold the garbage collector, which walks over all that there is for every 700 new lists."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
