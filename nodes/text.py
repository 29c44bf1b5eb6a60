"""From a prompt to what the network reads."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from graph import came_from, node

from .kinds import Device, Dtype, PooledText, TextEmbedding, Tokens
from .load import Digest, Model, came_from_component, find_part
from .weights import StoredTensor, load_weights, tokenizer_folder

# transformers takes seconds to import: a graph without text should not wait for it.
if TYPE_CHECKING:
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

ClipSkip = Annotated[
    int | None, Field(ge=1, description="leave out so many of the last layers; null = none")
]


@dataclass(frozen=True)
class Tokenizer:
    """Splits a prompt into numbered pieces of words.

    `words` says what is to be read for words that were learned as several tokens.
    """

    clip: "CLIPTokenizer"
    words: Mapping[str, str] = field(default_factory=dict[str, str])

    def written_out(self, prompt: str) -> str:
        """Put all the tokens of a learned word in its place."""
        if not self.words:
            return prompt
        longest_first = sorted(map(re.escape, self.words), key=len, reverse=True)
        words = rf"(?<!\w)(?:{'|'.join(longest_first)})(?!\w)"
        return re.sub(words, lambda found: self.words[found[0].lower()], prompt, flags=re.I)


@dataclass(frozen=True)
class TextEncoder:
    """Reads tokens."""

    clip: "CLIPTextModel | CLIPTextModelWithProjection"


class EncodedText(NamedTuple):
    """A text token by token, and as a whole."""

    text: TextEmbedding
    pooled: PooledText


@node
def load_tokenizer(
    model: Model, subfolder: str = "tokenizer", revision: str | None = None
) -> Tokenizer:
    """Load the tokenizer of CLIP."""
    from transformers import CLIPTokenizer

    with tokenizer_folder(model, subfolder, revision) as folder:
        found = Tokenizer(CLIPTokenizer.from_pretrained(folder.path))
        return came_from(found, *folder.files)


@node
def load_text_encoder(
    model: Model,
    device: Device,
    dtype: Dtype,
    subfolder: str = "text_encoder",
    revision: str | None = None,
    variant: str | None = None,
    sha256: Digest = None,
) -> TextEncoder:
    """Load the text encoder of CLIP (arXiv:2103.00020), with a projection if its config has it."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    found = find_part(model, subfolder, revision, variant, sha256, device)
    kinds = {kind.__name__: kind for kind in (CLIPTextModel, CLIPTextModelWithProjection)}
    name = str((found.config.get("architectures") or ["CLIPTextModel"])[0])
    if name not in kinds:
        raise ValueError(f"'{model}' has a {name} in {subfolder}, expected {' or '.join(kinds)}")
    with torch.device("meta"):
        clip = kinds[name](CLIPTextConfig.from_dict(dict(found.config)))
    if device.type == "meta":
        nn.Module.to(clip, dtype)
    else:
        load_weights(clip, _named_as_here(found.tensors, clip.state_dict()), device, dtype)
    embeddings: Any = getattr(clip, "text_model", clip).embeddings
    # Not in the file, as it only counts.
    embeddings.position_ids = torch.arange(clip.config.max_position_embeddings, device=device)[None]
    return came_from_component(TextEncoder(clip), found)


def _named_as_here(
    tensors: Mapping[str, StoredTensor], expected: Mapping[str, Any]
) -> dict[str, StoredTensor]:
    """Give tensors the names of this version of transformers, which adds or drops a prefix."""
    prefix = "text_model."
    named: dict[str, StoredTensor] = {}
    for key, tensor in tensors.items():
        bare = key.removeprefix(prefix)
        if not bare.endswith("position_ids"):
            names = (key, bare, prefix + bare)
            named[next((name for name in names if name in expected), key)] = tensor
    return named


@node
def tokenize(
    tokenizer: Tokenizer,
    prompt: Annotated[str | list[str], Field(description="one for all pictures, or one for each")],
    device: Device,
) -> Tokens:
    """Turn a prompt into tokens, padded and cut to the length that the text encoder reads."""
    clip = tokenizer.clip
    prompts = [prompt] if isinstance(prompt, str) else prompt
    tokens = clip(
        [tokenizer.written_out(one) for one in prompts],
        padding="max_length",
        truncation=True,
        max_length=clip.model_max_length,
        return_tensors="pt",
    )
    return tokens["input_ids"].to(device)  # B N


@node
def encode_text(encoder: TextEncoder, tokens: Tokens, clip_skip: ClipSkip = None) -> TextEmbedding:
    """Read the tokens as Stable Diffusion 1 and 2 do: hidden states after the final layer norm."""
    if clip_skip is None:
        return encoder.clip(tokens).last_hidden_state  # B N D
    inner: Any = getattr(encoder.clip, "text_model", encoder.clip)
    return inner.final_layer_norm(_layer(encoder, tokens, clip_skip + 1)[0])


@node
def encode_text_and_pool(
    encoder: TextEncoder, tokens: Tokens, clip_skip: ClipSkip = None
) -> EncodedText:
    """Read the tokens as SDXL does: the last hidden states but one, without the final layer norm.

    The text as a whole is the state of its end token, projected where the encoder projects it
    (arXiv:2307.01952, section 2.1).
    """
    hidden, output = _layer(encoder, tokens, (clip_skip or 0) + 2)
    projected = hasattr(output, "text_embeds")
    return EncodedText(hidden, output.text_embeds if projected else output.pooler_output)


def _layer(encoder: TextEncoder, tokens: Tensor, from_the_end: int) -> tuple[Tensor, Any]:
    output: Any = encoder.clip(tokens, output_hidden_states=True)
    states = output.hidden_states
    if from_the_end > len(states):
        raise ValueError(f"`clip_skip` leaves out more than the {len(states) - 1} layers there are")
    return states[-from_the_end], output


@node
def join_texts(first: TextEmbedding, second: TextEmbedding) -> TextEmbedding:
    """Put two encoders' readings of a text side by side, token by token, as SDXL reads them."""
    return torch.cat((first, second), dim=-1)  # B N D1+D2


@node
def no_text(text: TextEmbedding, pooled: PooledText) -> EncodedText:
    """Give zeros in place of a text, as SDXL was trained to read no text at all."""
    return EncodedText(torch.zeros_like(text), torch.zeros_like(pooled))
