"""What text encoders read, against the development oracle's pipelines, and their files."""

import json
import shutil
from pathlib import Path

import diffusers
import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from nodes import text
from tests.test_families import shapes

CPU = torch.device("cpu")
PROMPTS = ["a red heart", "two cats on a green background"]
PUBLISHED = {
    "clip l": (CLIPTextModel, {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12, "projection_dim": 768}),
    "openclip h": (CLIPTextModel, {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16, "hidden_act": "gelu", "projection_dim": 512}),
    "openclip bigg": (CLIPTextModelWithProjection, {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20, "hidden_act": "gelu", "projection_dim": 1280}),
}  # fmt: skip


def load(folder, number=""):
    return (
        text.load_tokenizer(folder, f"tokenizer{number}"),
        text.load_text_encoder(folder, CPU, torch.float32, f"text_encoder{number}"),
    )


@pytest.mark.parametrize("clip_skip", [None, 1, 2])
def test_sdxl_reads_a_prompt_as_the_oracle_does(tiny_sdxl, clip_skip, relative):
    theirs, folder = tiny_sdxl
    expected, _, pooled, _ = theirs.encode_prompt(
        PROMPTS, clip_skip=clip_skip, do_classifier_free_guidance=False
    )
    parts = []
    for tokenizer, encoder in (load(folder), load(folder, "_2")):
        tokens = text.tokenize(tokenizer, PROMPTS, CPU)
        parts.append(text.encode_text_and_pool(encoder, tokens, clip_skip))
    assert relative(text.join_texts(parts[0].text, parts[1].text), expected) <= 1e-6
    assert relative(parts[1].pooled, pooled) <= 1e-6


@pytest.mark.parametrize("clip_skip", [None, 1, 2])
def test_stable_diffusion_reads_a_prompt_as_the_oracle_does(
    tiny_stable_diffusion, clip_skip, relative
):
    theirs = diffusers.StableDiffusionPipeline.from_pretrained(tiny_stable_diffusion)
    # The oracle looks for a level of names that transformers 5 no longer has.
    object.__setattr__(theirs.text_encoder, "text_model", theirs.text_encoder)
    expected, _ = theirs.encode_prompt(PROMPTS, CPU, 1, False, clip_skip=clip_skip)
    tokenizer, encoder = load(str(tiny_stable_diffusion))
    found = text.encode_text(encoder, text.tokenize(tokenizer, PROMPTS, CPU), clip_skip)
    assert relative(found, expected) <= 1e-6


def test_an_absent_negative_prompt_is_zeros(tiny_sdxl):
    theirs, folder = tiny_sdxl
    _, expected, _, pooled = theirs.encode_prompt(PROMPTS)
    tokenizer, encoder = load(folder, "_2")
    found = text.encode_text_and_pool(encoder, text.tokenize(tokenizer, PROMPTS, CPU))
    nothing = text.no_text(found.text, found.pooled)
    assert not expected.any()
    assert not pooled.any()
    assert not nothing.text.any()
    assert nothing.pooled.shape == pooled.shape


@pytest.mark.parametrize(("kind", "config"), PUBLISHED.values(), ids=PUBLISHED.keys())
def test_published_text_encoders_have_the_names_that_files_have(kind, config):
    with torch.device("meta"):
        clip = kind(CLIPTextConfig(**config))
    expected = shapes(clip)
    # Files of before transformers 5 have a prefix everywhere, and count positions.
    stored = {
        f"text_model.{name.removeprefix('text_model.')}": name
        for name in expected
        if "projection" not in name
    }
    stored |= {name: name for name in expected if "projection" in name}
    tensors = dict.fromkeys([*stored, "text_model.embeddings.position_ids"])
    assert text._named_as_here(tensors, expected).keys() == expected.keys()


def test_more_layers_than_there_are_cannot_be_left_out(tiny_sdxl):
    tokenizer, encoder = load(tiny_sdxl[1])
    with pytest.raises(ValueError, match="`clip_skip` leaves out more than the 4 layers there are"):
        text.encode_text_and_pool(encoder, text.tokenize(tokenizer, PROMPTS, CPU), 5)


def test_an_encoder_of_another_class_is_refused(tiny_sdxl, tmp_path):
    folder = tmp_path / "text_encoder"
    shutil.copytree(Path(tiny_sdxl[1]) / "text_encoder", folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["T5EncoderModel"]}))
    with pytest.raises(
        ValueError, match="has a T5EncoderModel in text_encoder, expected CLIPTextModel or"
    ):
        text.load_text_encoder(str(tmp_path), CPU, torch.float32)
