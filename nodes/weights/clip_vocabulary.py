"""The vocabulary of CLIP, which original single files leave out, and the files of its tokenizer."""

import gzip
import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

START, END = "<|startoftext|>", "<|endoftext|>"
MERGES = 49408 - 2 * 256 - 2  # what is left of the vocabulary: bytes, bytes that end a word, marks


@cache
def clip_vocabulary() -> dict[str, int]:
    """Give the number of every piece of a word: 49,408 of them (arXiv:2103.00020, section 2.4)."""
    letters = list(_letters())
    pieces = [*letters, *(f"{letter}</w>" for letter in letters)]
    pieces += [first + second for first, second in clip_merges()]
    return {piece: number for number, piece in enumerate([*pieces, START, END])}


@cache
def clip_merges() -> list[tuple[str, str]]:
    """Give the pairs of pieces that are joined, the most frequent first."""
    package = files("nodes.weights") / "clip" / "bpe_simple_vocab_16e6.txt.gz"
    lines = gzip.decompress(package.read_bytes()).decode().split("\n")
    pairs = (line.split(" ") for line in lines[1 : 1 + MERGES])
    return [(first, second) for first, second in pairs]


def _letters() -> list[str]:
    """List a visible letter for each of the 256 bytes: those that are visible come first."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1)]
    visible += range(ord("®"), ord("ÿ") + 1)
    return [chr(code) for code in visible] + [chr(256 + n) for n in range(256 - len(visible))]


def tokenizer_config(pad_token: str) -> dict[str, Any]:
    """Give the `tokenizer_config.json` of a CLIP tokenizer that fills up with this token."""
    return {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": 77,
        "do_lower_case": True,
        "add_prefix_space": False,
        "errors": "replace",
        "bos_token": START,
        "eos_token": END,
        "unk_token": END,
        "pad_token": pad_token,
    }


def vocabulary_files() -> dict[str, str]:
    """Give the two files of a tokenizer's folder that hold the vocabulary, as text."""
    return {
        "vocab.json": json.dumps(clip_vocabulary(), ensure_ascii=False),
        "merges.txt": "\n".join(["#version: 0.2", *map(" ".join, clip_merges()), ""]),
    }


def with_vocabularies(small_files: Mapping[str, str]) -> dict[str, str]:
    """Add CLIP's vocabulary to every tokenizer, among a checkpoint's small files, that has none."""
    found = dict(small_files)
    for folder in _tokenizers(small_files):
        if not {f"{folder}/vocab.json", f"{folder}/tokenizer.json"} & small_files.keys():
            found |= {f"{folder}/{name}": text for name, text in vocabulary_files().items()}
    return found


def without_vocabularies(small_files: Mapping[str, str]) -> dict[str, str]:
    """Leave out the files that only say that a tokenizer's vocabulary is CLIP's."""
    known = {
        f"{folder}/{name}"
        for folder in _tokenizers(small_files)
        if _is_clips(small_files, folder)
        for name in ("vocab.json", "merges.txt", "tokenizer.json")
    }
    return {path: text for path, text in small_files.items() if path not in known}


def _tokenizers(small_files: Iterable[str]) -> list[str]:
    end = "/tokenizer_config.json"
    return [path.removesuffix(end) for path in small_files if path.endswith(end)]


def _is_clips(small_files: Mapping[str, str], folder: str) -> bool:
    plain, whole = (f"{folder}/{name}" for name in ("vocab.json", "tokenizer.json"))
    if plain in small_files:
        return json.loads(small_files[plain]) == clip_vocabulary()
    tokenizer = json.loads(small_files.get(whole, "{}"))
    added = {token["content"] for token in tokenizer.get("added_tokens", ())}
    same = tokenizer.get("model", {}).get("vocab") == clip_vocabulary()
    return same and added <= clip_vocabulary().keys()
