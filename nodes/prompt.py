"""Prompts with weights and of any length."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from graph import node

from .fitting import listed_prompts
from .kinds import Device, TextEmbedding
from .prompt_syntax import Piece, parse_weights
from .text import (
    ClipSkip,
    EncodedText,
    TextEncoder,
    Tokenizer,
    encode_text,
    encode_text_and_pool,
)

Weighting = Annotated[
    Literal["from_empty", "keep_mean"],
    Field(description="from_empty = as ComfyUI does, keep_mean = as AUTOMATIC1111's web UI does"),
]
Chunk = list[tuple[int, float]]  # tokens and their weights


@dataclass(frozen=True)
class WeightedTokens:
    """Prompts in chunks, each as long as the text encoder reads, and the weight of every token."""

    tokens: Tensor  # B K N
    weights: Tensor  # B K N
    empty: Tensor  # N, what an empty prompt is


class EqualTokens(NamedTuple):
    """Two prompts in equally many chunks."""

    first: WeightedTokens
    second: WeightedTokens


@node
def tokenize_weighted(
    tokenizer: Tokenizer,
    prompt: Annotated[str | list[str], Field(description="one for all pictures, or one for each")],
    device: Device,
) -> WeightedTokens:
    r"""Turn a prompt with weights into tokens, in as many chunks as it fills: nothing is cut off.

    `(word)` weighs 1.1, `[word]` 1 / 1.1, `(word:1.3)` 1.3; brackets multiply, `\(` is a letter,
    BREAK starts a new chunk. A chunk of CLIP has 75 tokens between its begin and its end; the
    prompts of one call get equally many.
    """
    prompts = listed_prompts(prompt)
    found = [_chunks(tokenizer, parse_weights(one)) for one in prompts]
    most = max(map(len, found))
    chunks = [chunk for one in found for chunk in [*one, *[[]] * (most - len(one))]]
    tokens, weights = (
        torch.tensor(rows, device=device).unflatten(0, (len(prompts), most))
        for rows in zip(*(_framed(tokenizer, chunk) for chunk in chunks), strict=True)
    )
    return WeightedTokens(tokens, weights, torch.tensor(tokenizer.framed([]), device=device))


def _chunks(tokenizer: Tokenizer, parts: Sequence[Sequence[Piece]]) -> list[Chunk]:
    """Cut every part of a prompt into chunks that can be read; an empty part has one."""
    chunks: list[Chunk] = []
    room = tokenizer.room
    for part in parts:
        found: Chunk = []
        for piece in part:
            found += [(number, piece.weight) for number in tokenizer.split(piece.text)]
        chunks += [found[start : start + room] for start in range(0, len(found) or 1, room)]
    return chunks


def _framed(tokenizer: Tokenizer, chunk: Chunk) -> tuple[list[int], list[float]]:
    """Put a chunk between its begin and its end, and pad it; neither has a weight."""
    tokens = tokenizer.framed([number for number, _ in chunk])
    weights = [1.0] * len(tokenizer.begin) + [weight for _, weight in chunk]
    return tokens, weights + [1.0] * (len(tokens) - len(weights))


@node
def equal_chunks(first: WeightedTokens, second: WeightedTokens) -> EqualTokens:
    """Give the shorter of two prompts empty chunks, so that both can be read in one batch."""
    most = max(first.tokens.shape[1], second.tokens.shape[1])
    return EqualTokens(_padded(first, most), _padded(second, most))


def _padded(prompt: WeightedTokens, chunks: int) -> WeightedTokens:
    count, own, length = prompt.tokens.shape
    empty = prompt.empty.expand(count, chunks - own, length)
    return replace(
        prompt,
        tokens=torch.cat((prompt.tokens, empty), dim=1),
        weights=torch.cat((prompt.weights, torch.ones_like(empty, dtype=torch.float32)), dim=1),
    )


@node
def encode_weighted(
    encoder: TextEncoder,
    prompt: WeightedTokens,
    clip_skip: ClipSkip = None,
    weighting: Weighting = "from_empty",
) -> TextEmbedding:
    """Read a prompt with weights as Stable Diffusion 1 and 2 do, its chunks one behind the other.

    `from_empty` moves every token's state along the line from what an empty prompt gives there:
    empty + weight * (state - empty). `keep_mean` multiplies the states by the weights, and a
    chunk as a whole by what brings back the mean it had.
    """
    text = encode_text(encoder, _with_empty(prompt), clip_skip)
    return _weighted(text, prompt.weights, weighting)


@node
def encode_weighted_and_pool(
    encoder: TextEncoder,
    prompt: WeightedTokens,
    clip_skip: ClipSkip = None,
    weighting: Weighting = "from_empty",
) -> EncodedText:
    """Read a prompt with weights as SDXL does; the text as a whole is that of the first chunk.

    The weights count for its tokens, as in `encode_weighted`, not for the text as a whole.
    """
    found = encode_text_and_pool(encoder, _with_empty(prompt), clip_skip)
    pooled = found.pooled[:-1].unflatten(0, prompt.tokens.shape[:2])[:, 0]  # B D
    return EncodedText(_weighted(found.text, prompt.weights, weighting), pooled)


def _with_empty(prompt: WeightedTokens) -> Tensor:
    return torch.cat((prompt.tokens.flatten(0, 1), prompt.empty[None]))  # B*K+1 N


def _weighted(states: Tensor, weights: Tensor, weighting: str) -> Tensor:
    """Weigh the states of all chunks and, last, of an empty one: gives (B, K*N, D)."""
    text, empty = states[:-1].unflatten(0, weights.shape[:2]), states[-1]  # B K N D, N D
    weights = weights[..., None].to(text)  # B K N 1
    if weighting == "from_empty":
        return torch.lerp(empty.expand_as(text), text, weights).flatten(1, 2)
    scaled = text * weights
    mean, found = (value.mean(dim=(2, 3), keepdim=True) for value in (text, scaled))
    return (scaled * (mean / found)).flatten(1, 2)
