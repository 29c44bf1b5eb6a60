"""From a prompt to what the network reads."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, cast

from pydantic import Field
from torch import nn

from graph import node

from .kinds import Device, Dtype, TextEmbedding, Tokens
from .load import Model
from .weights import find_config, find_folder_of, find_weights

TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
)

# transformers takes seconds to import: a graph without text should not wait for it.
if TYPE_CHECKING:
    from transformers import CLIPTextModel, CLIPTokenizer


@dataclass(frozen=True)
class Tokenizer:
    """Splits a prompt into numbered pieces of words."""

    clip: "CLIPTokenizer"


@dataclass(frozen=True)
class TextEncoder:
    """Reads tokens."""

    clip: "CLIPTextModel"


@node
def load_tokenizer(
    model: Model, subfolder: str = "tokenizer", revision: str | None = None
) -> Tokenizer:
    """Load the tokenizer of CLIP."""
    from transformers import CLIPTokenizer

    folder = find_folder_of(model, subfolder, TOKENIZER_FILES, revision)
    return Tokenizer(CLIPTokenizer.from_pretrained(folder))


@node
def load_text_encoder(
    model: Model,
    device: Device,
    dtype: Dtype,
    subfolder: str = "text_encoder",
    revision: str | None = None,
    variant: str | None = None,
) -> TextEncoder:
    """Load the text encoder of CLIP (arXiv:2103.00020); every weight must be in the file."""
    from transformers import CLIPTextModel
    from transformers.utils import logging

    logging.disable_progress_bar()  # the run shows its own
    folder = find_config(model, subfolder, "config.json", revision).parent
    weights = find_weights(model, subfolder, revision, variant)[0].name
    loaded = CLIPTextModel.from_pretrained(
        folder,
        variant=variant if f".{variant}." in weights else None,
        dtype=dtype,
        output_loading_info=True,
    )
    clip, report = cast("tuple[CLIPTextModel, dict[str, Any]]", loaded)
    wrong = {
        kind: sorted(report[kind]) for kind in ("missing_keys", "unexpected_keys") if report[kind]
    }
    if wrong:
        raise ValueError(f"the text encoder of '{model}' does not fit its config: {wrong}")
    nn.Module.to(clip, device)
    return TextEncoder(clip.eval().requires_grad_(False))


@node
def tokenize(
    tokenizer: Tokenizer,
    prompt: Annotated[str | list[str], Field(description="one for all pictures, or one for each")],
    device: Device,
) -> Tokens:
    """Turn a prompt into tokens, padded and cut to the length that the text encoder reads."""
    clip = tokenizer.clip
    tokens = clip(
        prompt,
        padding="max_length",
        truncation=True,
        max_length=clip.model_max_length,
        return_tensors="pt",
    )
    return tokens["input_ids"].to(device)  # B N


@node
def encode_text(encoder: TextEncoder, tokens: Tokens) -> TextEmbedding:
    """Read the tokens: the last hidden states, after the final layer norm."""
    return encoder.clip(tokens).last_hidden_state  # B N D
