"""Prompts with weights and of any length: what is read, and what the text encoder makes of it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nodes import prompt, text
from nodes.prompt_syntax import Piece, find_weight, parse_weights

CPU = torch.device("cpu")
ROOM = 30  # tokens in a chunk of the tiny encoders
READINGS = {
    "a cat": [[("a cat", 1)]],
    "a (cat)": [[("a ", 1), ("cat", 1.1)]],
    "((cat)) dog": [[("cat", 1.1**2), (" dog", 1)]],
    "[cat] dog": [[("cat", 1 / 1.1), (" dog", 1)]],
    "(cat:1.3), (dog : .5 )": [[("cat", 1.3), (", ", 1), ("dog ", 0.5)]],
    "(a (cat:1.5):2)": [[("a ", 2), ("cat", 3)]],
    "([cat])": [[("cat", 1)]],
    "(cat:-1)": [[("cat", -1)]],
    r"\(cat\) \[ \\ \x": [[(r"(cat) [ \ \x", 1)]],
    "cat) ] 3:4 :1.5)": [[("cat) ] 3:4 :1.5)", 1)]],
    "a (cat and [dog": [[("a ", 1), ("cat and ", 1.1), ("dog", 1)]],
    "(it)'s": [[("it", 1.1), ("'s", 1)]],
    "(a)(b)": [[("ab", 1.1)]],
    "cat BREAK dog": [[("cat ", 1)], [(" dog", 1)]],
    "(cat BREAK dog:2) BREAKFAST": [[("cat ", 2)], [(" dog", 2), (" BREAKFAST", 1)]],
    "BREAK": [[], []],
    "": [[]],
}


@pytest.mark.parametrize(("written", "expected"), READINGS.items(), ids=str)
def test_weights_are_read_as_people_write_them(written, expected):
    found = parse_weights(written)
    assert [[piece.text for piece in part] for part in found] == [
        [words for words, _ in part] for part in expected
    ]
    for part, other in zip(found, expected, strict=True):
        assert [piece.weight for piece in part] == pytest.approx([weight for _, weight in other])


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("a (fox:1.4) [lion]", "(fox:1.4)"),
        ("a cat (sitting, 2 paws up : .5 ) (fox:2)", "(sitting, 2 paws up : .5 )"),
        ("((fox:1.4))", "(fox:1.4)"),
        (r"a \(fox:1.4\)", None),
        ("a (fox) [lion] fox:1.4", None),
        ("at noon (12:30), in a frame (ratio 16:9), :) (a: b)", None),
    ],
)
def test_a_weight_is_found_where_nothing_else_can_be_meant(written, found):
    assert find_weight(written) == found


MARKS = st.text(st.sampled_from(r"()[]\:.-+1 aB") | st.characters(), max_size=40)


@given(MARKS)
def test_every_text_has_a_reading_that_loses_no_word(written):
    read = "".join(piece.text for part in parse_weights(written) for piece in part)
    letters = ([letter for letter in words if letter in "aB"] for words in (read, written))
    assert next(letters) == next(letters)


@given(MARKS)
def test_a_text_whose_marks_are_escaped_is_itself(written):
    escaped = "".join(f"\\{letter}" if letter in "()[]\\" else letter for letter in written)
    assert parse_weights(escaped) == [[Piece(written, 1.0)] if written else []]


@given(MARKS.filter(lambda words: not set(words) & set("()[]\\")))
def test_a_text_without_marks_is_itself_and_a_bracket_weighs_all_of_it(words):
    assert parse_weights(words) == [[Piece(words, 1.0)] if words else []]
    if words:
        assert parse_weights(f"[{words}]") == [[Piece(words, 1 / 1.1)]]
        assert parse_weights(f"({words}:1.25)") == [[Piece(words, 1.25)]]


@pytest.fixture(scope="module")
def tiny(tiny_stable_diffusion):
    folder = str(tiny_stable_diffusion)
    encoder = text.load_text_encoder(folder, CPU, torch.float32)
    # As untrained, the last norm's mean is zero, and no factor brings a mean of zero back.
    encoder.clip.text_model.final_layer_norm.bias += torch.linspace(0, 1, 32)
    return text.load_tokenizer(folder), encoder


def weighted(tiny, written, **options):
    return prompt.encode_weighted(
        tiny[1], prompt.tokenize_weighted(tiny[0], written, CPU), **options
    )


LONG = ", ".join(f"(a red heart:{number / 10})" for number in range(1, 20))


@pytest.mark.parametrize("weighting", ["from_empty", "keep_mean"])
@pytest.mark.parametrize("clip_skip", [None, 1])
def test_a_short_prompt_without_weights_is_read_as_ever(tiny, clip_skip, weighting, relative):
    prompts = ["a red heart", ""]
    expected = text.encode_text(tiny[1], text.tokenize(tiny[0], prompts, CPU), clip_skip)
    found = weighted(tiny, prompts, clip_skip=clip_skip, weighting=weighting)
    assert relative(found, expected) <= 1e-6


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("a (red heart:1.4), two cats", "a (red heart)1.4, two cats"),
        ("(a red:1.2) (heart:2)", "(a red)1.2 (heart)2"),
        ("a red heart", "a red heart"),
    ],
)
def test_weights_from_an_empty_prompt_are_compels(ours, theirs, tiny_stable_diffusion, relative):
    compel = pytest.importorskip("compel", reason="an oracle that is not installed")
    from transformers import CLIPTextModel, CLIPTokenizer

    folder = tiny_stable_diffusion
    oracle = compel.Compel(
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        text_encoder=CLIPTextModel.from_pretrained(folder / "text_encoder"),
    )
    own = text.load_tokenizer(str(folder)), text.load_text_encoder(str(folder), CPU, torch.float32)
    with torch.no_grad():
        difference = relative(weighted(own, ours), oracle(theirs))
    print(f"{ours}: {difference:.1e}")
    assert difference <= 1e-4


def test_a_long_prompt_loses_no_token(tiny):
    words = ", ".join(["two cats on a green background"] * 12)
    tokenizer = tiny[0]
    expected = tokenizer.split(words)
    found = prompt.tokenize_weighted(tiny[0], words, CPU)
    chunks = found.tokens[0].tolist()
    assert all(len(chunk) == tokenizer.length for chunk in chunks)
    assert all(chunk[0] == tokenizer.begin[0] and tokenizer.end[0] in chunk for chunk in chunks)
    inside = [chunk[1 : chunk.index(tokenizer.end[0])] for chunk in chunks]
    assert [len(chunk) for chunk in inside[:-1]] == [ROOM] * (len(inside) - 1)
    assert [token for chunk in inside for token in chunk] == expected


def test_every_token_has_the_weight_of_its_word(tiny):
    found = prompt.tokenize_weighted(tiny[0], "a (red heart:1.5) BREAK [cat]", CPU)
    assert found.weights.shape == (1, 2, ROOM + 2)
    assert found.weights[0, 0].tolist() == [1, 1, 1.5, 1.5, *[1] * 28]
    assert found.weights[0, 1, :3].tolist() == pytest.approx([1, 1 / 1.1, 1])


def by_hand(tiny, written, formula):
    """Read chunk by chunk what the published formula says of its states and the empty prompt's."""
    tokens = prompt.tokenize_weighted(tiny[0], written, CPU)
    empty = text.tokenize(tiny[0], "", CPU)
    parts = []
    for chunk, weights in zip(tokens.tokens[0], tokens.weights[0], strict=True):
        with torch.no_grad():
            state, nothing = (
                tiny[1].clip.normalised(tiny[1].clip(ids)[-1])[0] for ids in (chunk[None], empty)
            )
        parts.append(formula(state, nothing, weights[:, None]))
    return torch.cat(parts)[None]


FORMULAS = {
    "from_empty": lambda state, empty, weight: empty + weight * (state - empty),
    "keep_mean": lambda state, _, weight: state * weight * (state.mean() / (state * weight).mean()),
}


@pytest.mark.parametrize("weighting", FORMULAS)
def test_weights_do_what_their_formula_says(tiny, weighting, relative):
    expected = by_hand(tiny, LONG, FORMULAS[weighting])
    assert expected.shape[1] > 2 * (ROOM + 2)
    assert relative(weighted(tiny, LONG, weighting=weighting), expected) <= 1e-5


def test_prompts_of_one_call_are_as_long_as_the_longest(tiny, relative):
    both = weighted(tiny, ["a cat", LONG])
    assert relative(both[1:], weighted(tiny, LONG)) <= 1e-6
    chunk = ROOM + 2
    assert relative(both[:1, :chunk], weighted(tiny, "a cat")) <= 1e-6
    assert relative(both[:1, chunk : 2 * chunk], weighted(tiny, "")) <= 1e-6


def test_two_prompts_get_equally_many_chunks(tiny):
    one, other = (prompt.tokenize_weighted(tiny[0], words, CPU) for words in ("(cat:1.5)", LONG))
    for pair in (prompt.equal_chunks(one, other), prompt.equal_chunks(other, one)[::-1]):
        assert pair[1].tokens.equal(other.tokens)
        assert pair[0].tokens.shape == pair[0].weights.shape == other.tokens.shape
        assert pair[0].tokens[:, :1].equal(one.tokens)
        assert pair[0].weights[:, :1].equal(one.weights)
        assert pair[0].tokens[0, 1:].eq(one.empty).all()
        assert pair[0].weights[0, 1:].eq(1).all()


def test_sdxl_reads_the_whole_of_the_first_chunk(tiny_sdxl, relative):
    folder, words = tiny_sdxl[1], "a red heart"
    for number in ("", "_2"):
        tokenizer = text.load_tokenizer(folder, f"tokenizer{number}")
        encoder = text.load_text_encoder(folder, CPU, torch.float32, f"text_encoder{number}")
        expected = text.encode_text_and_pool(encoder, text.tokenize(tokenizer, words, CPU))
        found = prompt.encode_weighted_and_pool(
            encoder, prompt.tokenize_weighted(tokenizer, f"{words} BREAK two (cats)", CPU)
        )
        assert found.text.shape[1] == 2 * expected.text.shape[1]
        assert relative(found.text[:, : ROOM + 2], expected.text) <= 1e-6
        assert relative(found.pooled, expected.pooled) <= 1e-6
