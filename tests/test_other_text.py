"""Text encoders that are not CLIP's, against the library that they are built with."""

import json
import re
import shutil

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from graph import load
from nodes import text
from nodes.lora import LoRA, apply_lora
from nodes.weights import other_tokenizer
from runtime import Session
from runtime.cli import main
from tests.conftest import write_stable_diffusion

CPU = torch.device("cpu")
PROMPTS = ["a red cat", "a dog, a red house! a cat"]
WORDS = ["▁", "▁a", "▁cat", "▁red", "▁dog", "▁house", "c", "a", "t", "r", "e", "d", "s", "!", ","]
LENGTH = 10


def t5(**options):
    sizes = {
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 64,
        "num_layers": 2,
        "num_heads": 4,
        "vocab_size": 24,
    }
    return transformers.T5Config(**sizes | options)


def bert_like(kind, **options):
    return kind(
        vocab_size=24, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=64, **options,
    )  # fmt: skip


ENCODERS = {
    "t5": (transformers.T5EncoderModel, t5()),
    "t5 1.1": (transformers.T5EncoderModel, t5(feed_forward_proj="gated-gelu")),
    "umt5": (transformers.UMT5EncoderModel, transformers.UMT5Config(**t5().to_diff_dict() | {"model_type": "umt5"})),
    "bert": (transformers.BertModel, bert_like(transformers.BertConfig)),
    "xlm-roberta": (transformers.XLMRobertaModel, bert_like(transformers.XLMRobertaConfig, pad_token_id=0)),
}  # fmt: skip


def write_tokenizer(folder):
    marks = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0)]
    pieces = [*marks, *((word, -1.0 - place) for place, word in enumerate(WORDS))]
    tokenizer = transformers.T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=LENGTH)
    tokenizer.save_pretrained(folder)
    return tokenizer


def write_encoder(kind, config, folder):
    torch.manual_seed(0)
    network = kind(config).eval()
    for parameter in network.parameters():  # as they are made, most biases are zero
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    network.save_pretrained(folder)
    return network


@pytest.fixture(scope="module")
def t5_folder(tmp_path_factory):
    """Write a small Stable Diffusion that reads its prompt with T5."""
    folder = write_stable_diffusion(
        tmp_path_factory.mktemp("t5"),
        unet={"block_out_channels": (16, 16, 32, 32), "attention_head_dim": 2, "norm_num_groups": 8},
        vae={"block_out_channels": (16, 16, 32, 32), "norm_num_groups": 8},
        text={"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2},
    )  # fmt: skip
    for part in ("text_encoder", "tokenizer"):
        shutil.rmtree(folder / part)
    write_tokenizer(folder / "tokenizer")
    write_encoder(*ENCODERS["t5"], folder / "text_encoder")
    return folder


def oracle_states(network, tokens):
    mask = (tokens != network.config.pad_token_id).long()
    with torch.no_grad():
        return network(tokens, attention_mask=mask).last_hidden_state


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("kind", "config"), ENCODERS.values(), ids=ENCODERS.keys())
def test_an_encoder_gives_what_the_library_gives(kind, config, dtype, tmp_path):
    folder = tmp_path / "text_encoder"
    write_encoder(kind, config, folder)
    theirs = kind.from_pretrained(folder, dtype=dtype).eval()
    encoder = text.load_text_encoder(str(tmp_path), CPU, dtype)
    tokens = torch.tensor([[4, 5, 6, 1, 0, 0], [7, 8, 9, 10, 11, 1]])
    assert torch.equal(text.encode_text(encoder, tokens), oracle_states(theirs, tokens))
    ours = dict(encoder.network.network.named_parameters())
    assert {name: it.dtype for name, it in theirs.named_parameters()} == {
        name: it.dtype for name, it in ours.items()
    }
    assert not any(parameter.requires_grad for parameter in ours.values())


def test_a_prompt_is_read_with_t5_through_a_graph(t5_folder, tmp_path, relative):
    theirs = transformers.T5EncoderModel.from_pretrained(t5_folder / "text_encoder").eval()
    tokens = transformers.AutoTokenizer.from_pretrained(t5_folder / "tokenizer")(
        PROMPTS, padding="max_length", truncation=True, return_tensors="pt"
    )
    with torch.no_grad():
        expected = theirs(tokens.input_ids, tokens.attention_mask).last_hidden_state
    graph = tmp_path / "reads.yaml"
    graph.write_text(
        "inputs: {model: , prompt: }\n"
        "nodes:\n"
        "  text: {graph: encode_prompt.yaml, model: $model, prompt: $prompt}\n"
        "outputs: {text: $text}\n"
    )
    found = Session("cpu", "float32")(load(str(graph)), model=str(t5_folder), prompt=PROMPTS)
    assert found["text"].shape == (2, LENGTH, 32)
    assert relative(found["text"], expected) <= 1e-6


def test_a_picture_is_drawn_from_it(t5_folder, tmp_path):
    session, output = Session("cpu", "float32"), str(tmp_path / "x.png")
    told = {"model": str(t5_folder), "steps": 2, "width": 64, "height": 64, "output": output}
    one, other = (session(load("sd15"), prompt=prompt, **told)["image"] for prompt in PROMPTS)
    assert one.shape == (1, 3, 64, 64)
    assert not torch.equal(one, other)


def test_a_tokenizer_gives_the_librarys_numbers(tmp_path):
    theirs = write_tokenizer(tmp_path / "tokenizer")
    ours = text.load_tokenizer(str(tmp_path))
    for prompt in ["", *PROMPTS, "a red cat, " * 10, "ü"]:
        numbers = theirs(prompt, padding="max_length", truncation=True).input_ids
        assert ours.framed(ours.split(prompt)) == numbers
    assert len(ours) == len(theirs)


def test_a_tokenizer_with_marks_on_both_sides(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "cat"]
    vocabulary = {word: number for number, word in enumerate(words)}
    theirs = transformers.BertTokenizer(vocab=vocabulary, model_max_length=6)
    theirs.save_pretrained(tmp_path / "tokenizer")
    ours = text.load_tokenizer(str(tmp_path))
    for prompt in ("a red cat", "a red cat a red cat", ""):
        numbers = theirs(prompt, padding="max_length", truncation=True).input_ids
        assert ours.framed(ours.split(prompt)) == numbers


def test_weights_that_are_tied_may_be_stored_once_or_twice(tmp_path):
    folder = tmp_path / "text_encoder"
    theirs = write_encoder(*ENCODERS["t5"], folder)
    tensors = load_file(folder / "model.safetensors")
    shared = tensors.pop("shared.weight")
    tensors.pop("encoder.embed_tokens.weight", None)
    tokens = torch.tensor([[4, 5, 6, 1]])
    for names in (["shared"], ["encoder.embed_tokens"], ["shared", "encoder.embed_tokens"]):
        twins = {f"{name}.weight": shared.clone() for name in names}
        save_file(tensors | twins, folder / "model.safetensors")
        encoder = text.load_text_encoder(str(tmp_path), CPU, torch.float32)
        assert torch.equal(text.encode_text(encoder, tokens), oracle_states(theirs, tokens))
        network = encoder.network.network
        assert network.shared.weight is network.encoder.embed_tokens.weight


def changed(folder, name, **values):
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"architectures": ["T5EncodedModel"]}, "there is no text encoder 'T5EncodedModel', did you mean 'T5EncoderModel'?"),
        ({"architectures": ["X"]}, "there is no text encoder 'X', there are AlbertModel, BertModel, "),
        ({"architectures": ["ChatGLMModel"], "auto_map": {"AutoModel": "modeling_chatglm.ChatGLMModel"}},
         "ChatGLMModel is code of the checkpoint's own, which is never run"),
    ],
)  # fmt: skip
def test_an_unknown_encoder_is_refused_by_name(values, message, tmp_path):
    folder = tmp_path / "text_encoder"
    write_encoder(*ENCODERS["t5"], folder)
    (folder / "modeling_chatglm.py").write_text("raise SystemExit('was run')")
    changed(folder, "config.json", **values)
    with pytest.raises(ValueError, match=re.escape(f"{folder / 'config.json'}: {message}")):
        text.load_text_encoder(str(tmp_path), CPU, torch.float32)


def test_code_beside_a_known_encoder_is_not_run(tmp_path):
    folder = tmp_path / "text_encoder"
    write_encoder(*ENCODERS["t5"], folder)
    changed(folder, "config.json", auto_map={"AutoModelForTextEncoding": "own.T5EncoderModel"})
    (folder / "own.py").write_text("raise SystemExit('was run')")
    text.load_text_encoder(str(tmp_path), CPU, torch.float32)


def test_what_does_not_fit_is_refused(tmp_path):
    folder = tmp_path / "text_encoder"
    write_encoder(*ENCODERS["t5"], folder)
    tensors = load_file(folder / "model.safetensors")
    name = "encoder.final_layer_norm.weight"
    save_file({key: it for key, it in tensors.items() if key != name}, folder / "model.safetensors")
    with pytest.raises(ValueError, match=f"does not fit T5EncoderModel: missing {name}$"):
        text.load_text_encoder(str(tmp_path), CPU, torch.float32)
    changed(folder, "config.json", num_heads="four")
    with pytest.raises(ValueError, match=r"config.json is no config of T5EncoderModel: "):
        text.load_text_encoder(str(tmp_path), CPU, torch.float32)


def test_what_only_clip_has_is_refused(t5_folder):
    encoder = text.load_text_encoder(str(t5_folder), CPU, torch.float32)
    tokens = torch.tensor([[4, 5, 1]])
    only = "this is for CLIP's text encoders alone, `encoder` is T5EncoderModel"
    with pytest.raises(ValueError, match=f"^{only}$"):
        text.encode_text_and_pool(encoder, tokens)
    with pytest.raises(ValueError, match=f"^{only}$"):
        apply_lora(encoder, LoRA("x", {}))
    with pytest.raises(ValueError, match="`clip_skip` leaves out more than the 0 layers there are"):
        text.encode_text(encoder, tokens, 1)


def test_a_text_of_another_width_is_told_before_a_weight_is_read(t5_folder, tmp_path, capsys):
    folder = tmp_path / "wide"
    shutil.copytree(t5_folder, folder)
    changed(folder / "unet", "config.json", cross_attention_dim=48)
    (folder / "text_encoder" / "model.safetensors").unlink()
    assert main(["check", "sd15", f"model={folder}", "prompt=a cat"]) == 2
    assert "the network expects text of width 48, `text` has 32" in capsys.readouterr().err


def refuse_tokenizer(folder, message):
    with pytest.raises(ValueError, match="^" + re.escape(f"tokenizer of '{folder}': {message}") + "$"):  # fmt: skip
        text.load_tokenizer(str(folder))


def test_a_tokenizer_that_cannot_be_read_is_refused_by_name(tmp_path, monkeypatch):
    folder = tmp_path / "tokenizer"
    write_tokenizer(folder)
    (folder / "tokenizer.json").rename(folder / "kept")
    refuse_tokenizer(tmp_path, "T5Tokenizer has none of tokenizer.json, vocab.json, vocab.txt, spiece.model, sentencepiece.bpe.model")  # fmt: skip
    (folder / "spiece.model").write_bytes(b"\x00\xff")
    monkeypatch.setattr(other_tokenizer, "find_spec", lambda _: None)
    refuse_tokenizer(tmp_path, "T5Tokenizer has no tokenizer.json, and its vocabulary is read by a package that is not there: pip install sentencepiece")  # fmt: skip
    (folder / "kept").rename(folder / "tokenizer.json")
    changed(folder, "tokenizer_config.json", pad_token=None)
    refuse_tokenizer(tmp_path, "this T5Tokenizer has no token to pad with")
    changed(folder, "tokenizer_config.json", pad_token="<pad>")
    text.load_tokenizer(str(tmp_path))
    changed(folder, "tokenizer_config.json", tokenizer_class="ChatGLMTokenizer", auto_map={"AutoTokenizer": ["own.ChatGLMTokenizer", None]})  # fmt: skip
    (folder / "own.py").write_text("raise SystemExit('was run')")
    refuse_tokenizer(tmp_path, "ChatGLMTokenizer is code of the checkpoint's own, which is never run")  # fmt: skip
