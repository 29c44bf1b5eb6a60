"""Words that were learned are read as the development oracle reads them."""

import pytest
import torch
from safetensors.torch import save_file

import nodes
from graph import load
from nodes import text
from nodes.prompt import tokenize_weighted
from nodes.textual_inversion import add_word, load_textual_inversion
from runtime import Session

assert nodes.__all__  # importing registers the node types
CPU, META = torch.device("cpu"), torch.device("meta")
WIDTH = 32


@pytest.fixture
def parts(tiny_stable_diffusion):
    folder = str(tiny_stable_diffusion)
    return text.load_tokenizer(folder), text.load_text_encoder(folder, CPU, torch.float32)


def vectors(count, width=WIDTH, seed=0):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def saved(path, values):
    if path.suffix == ".safetensors":
        save_file(values, path)
    else:
        torch.save(values, path)
    return str(path)


def read(known, prompt):
    return text.encode_text(known[1], text.tokenize(known[0], prompt, CPU))


@pytest.fixture
def theirs(tiny_stable_diffusion):
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(tiny_stable_diffusion)
    # The oracle looks for a level of names that transformers 5 no longer has.
    object.__setattr__(pipeline.text_encoder, "text_model", pipeline.text_encoder)
    return pipeline


@pytest.mark.parametrize("count", [1, 3])
def test_a_word_is_read_as_the_oracles(theirs, parts, tmp_path, count, relative):
    prompts = ["a <toy> on a green background", "two cats", "<toy>, a red <toy>"]
    learned = vectors(count)
    theirs.load_textual_inversion({"<toy>": learned})
    expected, _ = theirs.encode_prompt(prompts, CPU, 1, False)
    file = saved(tmp_path / "x.safetensors", {"<toy>": learned})
    known = add_word(*parts, load_textual_inversion(file, CPU))
    assert relative(read(known, prompts), expected) <= 1e-6
    assert relative(read(parts, prompts), expected) > 1e-2


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("toy.safetensors", {"emb_params": vectors(2)}),
        ("toy.pt", {"string_to_token": {"*": 265}, "string_to_param": {"*": vectors(2)},
                    "name": "training", "step": 500, "sd_checkpoint": None}),
        ("toy.bin", {"Toy": vectors(2)}),
        ("toy.safetensors", {"clip_l": vectors(2), "clip_g": vectors(2, 48)}),
    ],
    ids=["safetensors", "pickle of the web UI", "pickle of diffusers", "sdxl"],
)  # fmt: skip
def test_every_form_of_file_is_the_same_word(parts, tmp_path, name, values):
    plain = saved(tmp_path / "plain.safetensors", {"toy": vectors(2)})
    expected = read(add_word(*parts, load_textual_inversion(plain, CPU)), "a toy boat")
    learned = load_textual_inversion(saved(tmp_path / name, values), CPU)
    assert torch.equal(read(add_word(*parts, learned), "a toy boat"), expected)


def test_a_vector_alone_is_a_word_of_one_token(parts, tmp_path):
    one = load_textual_inversion(saved(tmp_path / "toy.bin", {"toy": vectors(1)[0]}), CPU)
    assert one.vectors[WIDTH].shape == (1, WIDTH)


def test_words_add_up_and_leave_what_they_are_added_to(parts, tmp_path):
    tokenizer, encoder = parts
    size, before = len(tokenizer), read(parts, "a toy and a toybox")
    known = parts
    for seed, word in enumerate(["toy", "toybox"]):
        file = saved(tmp_path / f"{word}.safetensors", {word: vectors(2, seed=seed)})
        known = add_word(*known, load_textual_inversion(file, CPU))
    ids = known[0].split("a TOY and a toybox toys")
    assert [one for one in ids if one >= size] == [size, size + 1, size + 2, size + 3]
    assert len(tokenizer) == size
    assert torch.equal(read(parts, "a toy and a toybox"), before)
    own = [name for name, value in known[1].clip.named_parameters()
           if all(value is not other for other in encoder.clip.parameters())]  # fmt: skip
    assert [name.rpartition("embeddings.")[2] for name in own] == ["token_embedding.weight"]


def test_a_word_has_a_weight_as_others_have(parts, tmp_path):
    file = saved(tmp_path / "x.safetensors", {"<toy>": vectors(2)})
    known = add_word(*parts, load_textual_inversion(file, CPU))
    prompt = tokenize_weighted(known.tokenizer, "a (<toy>:1.3)", CPU)
    size = len(parts[0])
    assert prompt.weights[prompt.tokens >= size].tolist() == pytest.approx([1.3, 1.3])


def test_the_text_as_a_whole_is_still_that_of_its_end(tiny_sdxl, tmp_path):
    folder = tiny_sdxl[1]
    tokenizer = text.load_tokenizer(folder, "tokenizer_2")
    encoder = text.load_text_encoder(folder, CPU, torch.float32, "text_encoder_2")
    file = saved(tmp_path / "toy.safetensors", {"clip_l": vectors(1, 16), "clip_g": vectors(1, 24)})
    known = add_word(tokenizer, encoder, load_textual_inversion(file, CPU))
    tokens = text.tokenize(known.tokenizer, "a toy boat", CPU)
    found = text.encode_text_and_pool(known.encoder, tokens)
    clip = known.encoder.clip
    last = clip.normalised(clip(tokens)[-1])
    end = tokens[0].tolist().index(tokenizer.end[0])
    assert torch.allclose(found.pooled, clip.text_projection(last[:, end]), atol=1e-6)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"toy": vectors(1), "boat": vectors(1)}, "is no textual inversion: expected one tensor of vectors"),
        ({"toy": torch.ones(1, 2, 3)}, "is no textual inversion"),
        ({}, "is no textual inversion"),
    ],
)  # fmt: skip
def test_another_file_is_refused(tmp_path, values, message):
    with pytest.raises(ValueError, match=message):
        load_textual_inversion(saved(tmp_path / "x.safetensors", values), META)


def test_a_word_that_does_not_fit_is_refused(parts, tmp_path):
    wide = load_textual_inversion(saved(tmp_path / "a.safetensors", {"toy": vectors(2, 768)}), CPU)
    with pytest.raises(
        ValueError,
        match="`learned` 'toy' was learned by text encoders of width 768, this one has 32",
    ):
        add_word(*parts, wide)
    toy = load_textual_inversion(saved(tmp_path / "b.safetensors", {"toy": vectors(2)}), CPU)
    known = add_word(*parts, toy)
    with pytest.raises(ValueError, match="the tokenizer knows 'toy' already: give another `word`"):
        add_word(*known, toy)
    with pytest.raises(ValueError, match="are they of the same checkpoint"):
        add_word(known.tokenizer, parts[1], toy)


def test_a_graph_with_a_word(tmp_path):
    common = {"model": "emoji-64", "steps": 3, "seed": 4, "output": str(tmp_path / "x.png")}
    session = Session("cpu", "float32")
    alone = session(load("sd15"), prompt="a red heart", **common)["image"]
    encoder = text.load_text_encoder("emoji-64", CPU, torch.float32).clip
    width = encoder.config.hidden_size
    file = saved(tmp_path / "toy.safetensors", {"emb_params": vectors(2, width)})
    graph = load("textual-inversion")
    same, other = (
        session(graph, prompt=prompt, learned=file, **common)["image"]
        for prompt in ("a red heart", "a red toy")
    )
    assert torch.equal(same, alone)
    assert not torch.equal(other, alone)
