"""From a prompt to what the network reads."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from textwrap import shorten
from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from graph import came_from, node

from .fitting import listed_prompts
from .kinds import Device, Dtype, PooledText, TextEmbedding, Tokens
from .load import Digest, Model, build_network, came_from_component, find_part, part_files
from .models import CLIPTextModel
from .other_text import OtherTextModel, load_other_text_model
from .prompt_syntax import find_weight
from .weights import StoredTensor, Tokenizer, find_tokenizer, read_tokenizer

log = logging.getLogger("run-graph")
ENCODERS = ("CLIPTextModel", "CLIPTextModelWithProjection")
ClipSkip = Annotated[
    int | None, Field(ge=1, description="leave out so many of the last layers; null = none")
]


@dataclass(frozen=True)
class TextEncoder:
    """Reads tokens."""

    network: CLIPTextModel | OtherTextModel

    @property
    def clip(self) -> CLIPTextModel:
        """The network, where it is CLIP's; raises ValueError where it is another."""
        if not isinstance(self.network, CLIPTextModel):
            kind = type(self.network.network).__name__
            raise ValueError(f"this is for CLIP's text encoders alone, `encoder` is {kind}")
        return self.network


class EncodedText(NamedTuple):
    """A text token by token, and as a whole."""

    text: TextEmbedding
    pooled: PooledText


@node(reads=find_tokenizer)
def load_tokenizer(
    model: Model, subfolder: str = "tokenizer", revision: str | None = None
) -> Tokenizer:
    """Load the tokenizer of a text encoder."""
    files = find_tokenizer(model, subfolder, revision)
    return came_from(read_tokenizer(model, subfolder, files), *files)


@node(reads=part_files)
def load_text_encoder(
    model: Model,
    device: Device,
    dtype: Dtype,
    subfolder: str = "text_encoder",
    revision: str | None = None,
    variant: str | None = None,
    sha256: Digest = None,
) -> TextEncoder:
    """Load the text encoder of CLIP (arXiv:2103.00020), or any other that transformers has.

    Those other ones, such as T5 (arXiv:1910.10683), are read with by `encode_text`.
    """
    found = find_part(model, subfolder, revision, variant, sha256, device)
    name = str((found.config.get("architectures") or [ENCODERS[0]])[0])
    if name not in ENCODERS:
        return came_from_component(TextEncoder(load_other_text_model(found, device, dtype)), found)
    found = replace(found, tensors=_with_prefix(found.tensors))
    clip = build_network(CLIPTextModel.from_config, found, device, dtype)
    return came_from_component(TextEncoder(clip), found)


def _with_prefix(tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Add the prefix that files of transformers 5 lack; leave out what only counts positions."""
    return {
        key if key.startswith(("text_model.", "text_projection.")) else f"text_model.{key}": tensor
        for key, tensor in tensors.items()
        if not key.endswith("position_ids")
    }


@node
def tokenize(
    tokenizer: Tokenizer,
    prompt: Annotated[str | list[str], Field(description="one for all pictures, or one for each")],
    device: Device,
) -> Tokens:
    """Turn a prompt into tokens, padded and cut to the length that the text encoder reads.

    What is cut off, and a weight such as `(word:1.3)`, which is read as words, is warned of.
    Raises ValueError for a list without prompts.
    """
    prompts = listed_prompts(prompt)
    numbers = [tokenizer.split(one) for one in prompts]
    if device.type != "meta":  # a check is no run: it may ask several times
        for one, split in zip(prompts, numbers, strict=True):
            _warn(tokenizer, one, len(split))
    return torch.tensor([tokenizer.framed(split) for split in numbers], device=device)  # B N


def _warn(tokenizer: Tokenizer, prompt: str, count: int) -> None:
    if weight := find_weight(prompt):
        log.warning(
            "prompt: '%s' is read as words: weights are for tokenize_weighted and encode_weighted",
            weight,
        )
    if count > tokenizer.room:
        log.warning(
            "prompt: %d tokens, the text encoder reads %d: not read is '%s' "
            "(tokenize_weighted reads all)",
            count, tokenizer.room, shorten(tokenizer.unread(prompt), 40, placeholder=" …"),
        )  # fmt: skip


@node
def encode_text(encoder: TextEncoder, tokens: Tokens, clip_skip: ClipSkip = None) -> TextEmbedding:
    """Read the tokens as Stable Diffusion 1 and 2 do: hidden states after the final layer norm."""
    network = encoder.network
    states = network(tokens.to(_device(encoder)))
    return network.normalised(_layer(states, (clip_skip or 0) + 1)).to(tokens.device)  # B N D


@node
def encode_text_and_pool(
    encoder: TextEncoder, tokens: Tokens, clip_skip: ClipSkip = None
) -> EncodedText:
    """Read the tokens as SDXL does: the last hidden states but one, without the final layer norm.

    The text as a whole is the state of its end token, projected where the encoder projects it
    (arXiv:2307.01952, section 2.1).
    """
    clip, read = encoder.clip, tokens.to(_device(encoder))
    states = clip(read)
    hidden = _layer(states, (clip_skip or 0) + 2)
    pooled = clip.pooled(read, states[-1])
    return EncodedText(hidden.to(tokens.device), pooled.to(tokens.device))


def _device(encoder: TextEncoder) -> torch.device:
    return next(encoder.network.parameters()).device


def _layer(states: list[Tensor], from_the_end: int) -> Tensor:
    if from_the_end > len(states):
        raise ValueError(f"`clip_skip` leaves out more than the {len(states) - 1} layers there are")
    return states[-from_the_end]


@node
def join_texts(first: TextEmbedding, second: TextEmbedding) -> TextEmbedding:
    """Put two encoders' readings of a text side by side, token by token, as SDXL reads them."""
    return torch.cat((first, second), dim=-1)  # B N D1+D2


@node
def no_text(text: TextEmbedding, pooled: PooledText) -> EncodedText:
    """Give zeros in place of a text, as SDXL was trained to read no text at all."""
    return EncodedText(torch.zeros_like(text), torch.zeros_like(pooled))
