"""Tokenizers other than CLIP's, by the transformers library, whose import takes long."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .tokenizer import Tokenizer, read_length

SENTENCEPIECE = ("spiece.model", "sentencepiece.bpe.model")
VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", *SENTENCEPIECE)


def read_other_tokenizer(files: list[Path], config: Mapping[str, Any]) -> Tokenizer:
    """Read a tokenizer of the class that its config names from its files, all in one folder.

    Raises ValueError for one that is code of the checkpoint's own, whose vocabulary is missing or
    wants a package that is, or that transformers cannot read.
    """
    from transformers.models.auto.tokenization_auto import (
        AutoTokenizer,
        tokenizer_class_from_name,
    )

    name = config["tokenizer_class"]
    is_known = tokenizer_class_from_name(name) or tokenizer_class_from_name(f"{name}Fast")
    if "auto_map" in config and not is_known:
        raise ValueError(f"{name} is code of the checkpoint's own, which is never run")
    vocabularies = {file.name for file in files} & set(VOCABULARIES)
    if not vocabularies:
        raise ValueError(f"{name} has none of {', '.join(VOCABULARIES)}")
    if vocabularies <= set(SENTENCEPIECE) and find_spec("sentencepiece") is None:
        raise ValueError(
            f"{name} has no tokenizer.json, and its vocabulary is read by a package that is not "
            "there: pip install sentencepiece"
        )
    try:
        found = AutoTokenizer.from_pretrained(
            files[0].parent, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:
        raise ValueError(f"transformers cannot read this {name}: {error}") from error
    if not found.is_fast or found.pad_token_id is None:
        lacks = "token to pad with" if found.is_fast else "form for the package tokenizers"
        raise ValueError(f"this {name} has no {lacks}")
    pieces = found.backend_tokenizer
    pieces.no_padding()
    pieces.no_truncation()
    framed = pieces.encode("a")
    inside = [place for place, mark in enumerate(framed.special_tokens_mask) if not mark]
    begin, end = framed.ids[: inside[0]], framed.ids[inside[-1] + 1 :]
    length = read_length(found.model_max_length)
    return Tokenizer(pieces, tuple(begin), tuple(end), found.pad_token_id, length)
