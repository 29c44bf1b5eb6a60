"""Textual inversion (arXiv:2208.01618): words that a text encoder learns, in small files."""

from dataclasses import dataclass, replace
from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from graph import came_from, node

from .kinds import Device
from .load import Digest, Model, check_digests
from .lora import find_small_file, small_files
from .models import with_layers
from .text import TextEncoder, Tokenizer
from .weights import open_tensors

# What the tensor is called in files that leave the word to the name of the file.
NAMELESS = {"emb_params", "string_to_param.*", "clip_l", "clip_g"}


@dataclass(frozen=True)
class TextualInversion:
    """A word, and what stands in a prompt for it: vectors, for each width of text encoders."""

    word: str
    vectors: dict[int, Tensor]  # each V D, by D


class ExtendedText(NamedTuple):
    """A tokenizer and a text encoder that know one word more."""

    tokenizer: Tokenizer
    encoder: TextEncoder


@node(reads=small_files)
def load_textual_inversion(
    model: Model,
    device: Device,
    file: Annotated[
        str, Field(description="its name in a folder or repository")
    ] = "learned_embeds.safetensors",
    word: Annotated[
        str | None, Field(description="to write in prompts; null = as in the file, or its name")
    ] = None,
    revision: str | None = None,
    sha256: Digest = None,
) -> TextualInversion:
    """Load a word that was learned, as diffusers or AUTOMATIC1111's web UI wrote it.

    Raises ValueError for a file that is none.
    """
    path = find_small_file(model, file, revision)
    check_digests([path], sha256)
    tensors = open_tensors(path)
    words = [name for name in tensors if name not in NAMELESS]
    shapes = [tensor.shape for tensor in tensors.values()]
    if len(words) > 1 or not shapes or any(len(shape) not in (1, 2) for shape in shapes):
        raise ValueError(
            f"{path} is no textual inversion: expected one tensor of vectors, called by its word, "
            f"emb_params, string_to_param, or clip_l and clip_g; found {', '.join(tensors)[:80]}"
        )
    vectors: dict[int, Tensor] = {}
    for tensor in tensors.values():
        if device.type == "meta":
            found = torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
        else:
            found = tensor.read().detach().to(device)
        vectors[tensor.shape[-1]] = found.reshape(-1, tensor.shape[-1])  # V D
    return came_from(TextualInversion(word or (words[0] if words else path.stem), vectors), path)


@node
def add_word(tokenizer: Tokenizer, encoder: TextEncoder, learned: TextualInversion) -> ExtendedText:
    """Give a tokenizer and a text encoder that know a learned word; those given stay as they are.

    Raises ValueError for a word that they know already, or that another encoder learned.
    """
    embedding = encoder.clip.text_model.embeddings.token_embedding
    known, width = embedding.weight.shape
    if width not in learned.vectors:
        widths = " and ".join(map(str, learned.vectors))
        raise ValueError(
            f"`learned` '{learned.word}' was learned by text encoders of width {widths}, "
            f"this one has {width}: is it of another family?"
        )
    if len(tokenizer) != known:
        raise ValueError(
            f"`tokenizer` has {len(tokenizer)} tokens and `encoder` {known}: "
            "are they of the same checkpoint?"
        )
    vectors = learned.vectors[width].to(embedding.weight)
    extended = tokenizer.with_word(learned.word, len(vectors))
    longer = nn.Embedding.from_pretrained(torch.cat((embedding.weight, vectors)))
    clip = with_layers(encoder.clip, {"text_model.embeddings.token_embedding": longer})
    # Old configs do not say where a text ends, but look for the largest number, the new word's.
    clip.config = replace(clip.config, eos_token_id=tokenizer.end[0])
    return ExtendedText(extended, replace(encoder, network=clip))
