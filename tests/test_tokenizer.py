"""Our tokenizer against the development oracle's: the same numbers, whatever is written."""

import json
import random
from pathlib import Path

import pytest
import transformers

from nodes.text import load_tokenizer
from nodes.weights.clip_vocabulary import clip_vocabulary, vocabulary_files
from nodes.weights.tokenizer import make_tokenizer
from tests.conftest import EMOJI

BEGIN, END = "<|startoftext|>", "<|endoftext|>"
WRITTEN = [
    "", "a photo of a cat", "It's", "DON'T", "we're, I'll, they've, he'd, I'm", "'s ''", "’s it’s",
    "  double  spaces\t\n", "!", "wow!", "a!b", "!!", f"x{END}y", f"{BEGIN} {END}", "<|ENDOFTEXT|>",
    "日本語の文字", "Ünïcödé", "e\u0301", "İstanbul", "ß ﬁ ǅ", "🦊🦊", "👩‍👩‍👧", "123 4567 ½²Ⅷ①",
    "_under_score", "foo@bar.com", "(word:1.2)", "[a|b]", "\u200b\u00a0\u3000\u2028x\ufeff", "\x00\x07",
    "-- ... C++ #hash", "<cat-toy> <Cat-Toy> sks skss SKS", "ك हिन्दी 한국어 𝔘", "long " * 100,
]  # fmt: skip


def token(content, **flags):
    return {"content": content, "lstrip": False, "rstrip": False, "single_word": False, **flags}


def listed(pad):
    """Name the marks as files of before 2024 do."""
    marks = {"bos_token": BEGIN, "eos_token": END, "unk_token": END}
    return {name: token(mark, normalized=True) for name, mark in marks.items()} | {"pad_token": pad}


CONFIG = {"model_max_length": 77, "bos_token": BEGIN, "eos_token": END, "unk_token": END, "pad_token": END}  # fmt: skip
FILES = {
    "vocabulary alone": {},
    "stable diffusion 1": {"tokenizer_config": CONFIG, "special_tokens_map": listed(END)},
    # The two files name different tokens for padding, and the second one counts.
    "stable diffusion 2": {"tokenizer_config": CONFIG, "special_tokens_map": listed("!")},
    "sdxl's second": {
        "tokenizer_config": CONFIG | {
            "pad_token": "!",
            "added_tokens_decoder": {
                "0": token("!", normalized=False, special=True),
                "49406": token(BEGIN, normalized=True, special=True),
                "49407": token(END, normalized=True, special=True),
            },
        },
        "special_tokens_map": listed("!"),
    },
    "learned words": {
        "tokenizer_config": CONFIG, "special_tokens_map": listed(END),
        "added_tokens": {"<cat-toy>": 49408, "sks": 49409},
    },
}  # fmt: skip


def prompts() -> list[str]:
    draw = random.Random(0)
    words = [piece.removesuffix("</w>") for piece in clip_vocabulary()]
    ranges = [(1, 0x7F), (0x80, 0x24F), (0x300, 0x36F), (0x370, 0xD7FF), (0xE000, 0x1FFFF)]
    odd = ("".join(chr(draw.randint(*draw.choice(ranges))) for _ in range(30)) for _ in range(60))
    mixed = (" ".join(draw.choices(words, k=draw.randint(1, 90))) for _ in range(40))
    joined = ("".join(draw.choices([*WRITTEN, " ", ", "], k=6)) for _ in range(40))
    return [*WRITTEN, *odd, *mixed, *joined]


@pytest.mark.parametrize("saved", [False, True], ids=["as published", "as saved anew"])
@pytest.mark.parametrize("files", FILES.values(), ids=FILES.keys())
def test_a_prompt_has_the_oracles_numbers(files, saved, tmp_path):
    for name, text in vocabulary_files().items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    for name, values in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(values))
    theirs = transformers.CLIPTokenizer.from_pretrained(tmp_path)
    if saved:
        for path in tmp_path.iterdir():
            path.unlink()
        theirs.save_pretrained(tmp_path)
    ours = make_tokenizer(
        {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    )
    assert len(ours) == len(theirs)
    for prompt in prompts():
        split = theirs(prompt, add_special_tokens=False, verbose=False)["input_ids"]
        framed = theirs(prompt, padding="max_length", truncation=True, max_length=77)["input_ids"]
        assert ours.split(prompt) == split, prompt
        assert ours.framed(split) == framed, prompt


def test_a_shorter_text_encoder_reads_less():
    tokenizer = load_tokenizer(str(EMOJI))
    assert len(tokenizer.framed(tokenizer.split("a fox " * 50))) == 32


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("tokenizer.json", "{", r"tokenizer of '.*': tokenizer.json of the tokenizer is no JSON"),
        ("tokenizer.json", "[]", "tokenizer.json of the tokenizer holds no object, but list"),
        ("merges.txt", None, "the tokenizer has neither tokenizer.json nor vocab.json and merges.txt"),
        ("tokenizer.json", '{"model": {"vocab": {"a": 0}, "merges": ["a b"]}}', "vocabulary of the tokenizer is damaged"),
    ],
)  # fmt: skip
def test_a_damaged_tokenizer_is_refused(name, text, message, tmp_path):
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    for path in Path(EMOJI / "tokenizer").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    if text is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        load_tokenizer(str(tmp_path))
