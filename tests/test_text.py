"""What text encoders read, against the development oracle's pipelines, and their files."""

import diffusers
import pytest
import torch
import transformers
from transformers import CLIPTextConfig

from nodes import text
from nodes.models import CLIPTextModel
from runtime.cli import main
from tests.test_families import shapes

CPU = torch.device("cpu")
PROMPTS = ["a red heart", "two cats on a green background"]
PUBLISHED = {
    "clip l": (transformers.CLIPTextModel, {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12, "projection_dim": 768}),
    "openclip h": (transformers.CLIPTextModel, {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16, "hidden_act": "gelu", "projection_dim": 512}),
    "openclip bigg": (transformers.CLIPTextModelWithProjection, {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20, "hidden_act": "gelu", "projection_dim": 1280}),
}  # fmt: skip

TINY = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2,
    "projection_dim": 8, "vocab_size": 50, "max_position_embeddings": 6,
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


END = "An  overlong end of a prompt that nobody reads but its author"
CUT = (
    "prompt: 65 tokens, the text encoder reads 30: not read is 'An overlong end of a prompt that …' "
    "(tokenize_weighted reads all)"
)
WEIGHED = (
    "prompt: '(fox:1.4)' is read as words: weights are for tokenize_weighted and encode_weighted"
)


@pytest.mark.parametrize(
    ("prompt", "warned"),
    [
        ("a fox " * 15, []),
        ("a fox " * 15 + END, [CUT]),
        (["a fox", f"a (fox:1.4) {'a fox ' * 11}{END}"], [WEIGHED, CUT]),
        (
            "a " * 28 + END,
            [
                "prompt: 63 tokens, the text encoder reads 30: not read is "
                "'overlong end of a prompt that nobody …' (tokenize_weighted reads all)"
            ],
        ),
    ],
    ids=["full", "too long", "weighed", "in a word"],
)
def test_what_is_read_otherwise_than_written_is_warned_of(prompt, warned, caplog):
    tokenizer = text.load_tokenizer("emoji-64")
    text.tokenize(tokenizer, prompt, torch.device("meta"))
    assert caplog.messages == []
    text.tokenize(tokenizer, prompt, CPU)
    assert caplog.messages == warned


def test_the_command_warns_once_in_a_line(tiny_sdxl, tmp_path, capsys):
    prompt = f"prompt=a (fox:1.4) {'a fox ' * 11}{END}"
    words = ["sdxl", f"model={tiny_sdxl[1]}", "steps=1", "width=64", "height=64"]
    assert main([*words, prompt, f"output={tmp_path / 'fox.png'}"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("prompt")] == [WEIGHED, CUT]


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
        theirs = shapes(kind(CLIPTextConfig(**config)))
        ours = shapes(CLIPTextModel.from_config(config | {"architectures": [kind.__name__]}))
    assert text._with_prefix(theirs) == ours
    # Files of before transformers 5 have the prefix everywhere, and count positions.
    for stored in (theirs, [*ours, "text_model.embeddings.position_ids"]):
        assert text._with_prefix(dict.fromkeys(stored)).keys() == ours.keys()


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@pytest.mark.parametrize("end", [2, 3])
def test_a_text_encoder_gives_what_the_oracle_does(activation, end, relative):
    config = TINY | {"hidden_act": activation, "eos_token_id": end}
    theirs = transformers.CLIPTextModelWithProjection(CLIPTextConfig(**config)).eval()
    ours = CLIPTextModel.from_config(config | {"architectures": ["CLIPTextModelWithProjection"]})
    ours.load_state_dict(text._with_prefix(theirs.state_dict()))
    tokens = torch.tensor([[1, 40, 41, 3, 3, 49], [1, 12, 49, 3, 5, 3]])
    expected = theirs(tokens, output_hidden_states=True)
    states = ours(tokens)
    for one, other in zip(states, expected.hidden_states, strict=True):
        assert relative(one, other) <= 1e-6
    assert relative(ours.normalised(states[-1]), expected.last_hidden_state) <= 1e-6
    assert relative(ours.pooled(tokens, states[-1]), expected.text_embeds) <= 1e-6


def test_an_activation_that_is_not_implemented_is_refused():
    with pytest.raises(ValueError, match="'hidden_act' is implemented for 'quick_gelu', 'gelu' only, found 'relu'"):  # fmt: skip
        CLIPTextModel.from_config(TINY | {"hidden_act": "relu"})


def test_more_layers_than_there_are_cannot_be_left_out(tiny_sdxl):
    tokenizer, encoder = load(tiny_sdxl[1])
    with pytest.raises(ValueError, match="`clip_skip` leaves out more than the 4 layers there are"):
        text.encode_text_and_pool(encoder, text.tokenize(tokenizer, PROMPTS, CPU), 5)
