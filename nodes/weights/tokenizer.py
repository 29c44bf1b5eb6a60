"""CLIP's tokenizer (arXiv:2103.00020, section 2.4), from the files of the transformers library."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

from tokenizers import AddedToken, Regex, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Pieces
from tokenizers.models import BPE

TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
CLIP = ("CLIPTokenizer", "CLIPTokenizerFast")
LENGTH = 77  # where a file does not say how many tokens a text encoder reads
END_OF_WORD = "</w>"
_WORDS = r"<\|(?:start|end)oftext\|>|'(?:s|t|re|ve|m|ll|d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
_MARKS = ("bos_token", "eos_token", "unk_token", "pad_token")
_END = "<|endoftext|>"
_USUAL_MARKS = dict.fromkeys(_MARKS, _END) | {"bos_token": "<|startoftext|>"}


class Vocabulary(NamedTuple):
    """The pieces of words by their numbers, and the pairs that are joined, most frequent first."""

    numbers: Mapping[str, int]
    merges: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Tokenizer:
    """Splits a prompt into numbered pieces of words.

    A text encoder reads `length` of them: `begin`, the prompt, `end`, and what is left is `pad`.
    `words` says what is to be read for words that were learned as several tokens.
    """

    pieces: Pieces
    begin: tuple[int, ...]
    end: tuple[int, ...]
    pad: int
    length: int = LENGTH
    words: Mapping[str, str] = field(default_factory=dict[str, str])

    def __len__(self) -> int:
        """How many tokens there are."""
        return self.pieces.get_vocab_size()

    @property
    def room(self) -> int:
        """How many tokens of a prompt are read."""
        return self.length - len(self.begin) - len(self.end)

    def split(self, prompt: str) -> list[int]:
        """Give the numbers of a prompt's pieces, however many there are."""
        return self.pieces.encode(self._written_out(prompt), add_special_tokens=False).ids

    def unread(self, prompt: str) -> str:
        """Give the end of a prompt for which there is no room, from the word that is cut on."""
        written = self._written_out(prompt)
        offsets = self.pieces.encode(written, add_special_tokens=False).offsets
        if len(offsets) <= self.room:
            return ""
        last = written[: offsets[self.room][0] + 1]
        return written[len(re.sub(r"\S+$", "", last)) :]

    def framed(self, numbers: list[int]) -> list[int]:
        """Put numbers between begin and end, cut and padded to the length that is read."""
        padding = [self.pad] * (self.room - len(numbers))
        return [*self.begin, *numbers[: self.room], *self.end, *padding]

    def with_word(self, word: str, count: int) -> Self:
        """Give a tokenizer with so many tokens more, which stand together for one word.

        Raises ValueError for a word that is known already.
        """
        pieces = deepcopy(self.pieces)
        tokens = [word, *(f"{word}_{index}" for index in range(1, count))]
        if pieces.add_tokens([AddedToken(token, single_word=True) for token in tokens]) != count:
            raise ValueError(f"the tokenizer knows '{word}' already: give another `word`")
        return replace(self, pieces=pieces, words={**self.words, word.lower(): " ".join(tokens)})

    def _written_out(self, prompt: str) -> str:
        """Put all the tokens of a learned word in its place."""
        if not self.words:
            return prompt
        longest_first = sorted(map(re.escape, self.words), key=len, reverse=True)
        words = rf"(?<!\w)(?:{'|'.join(longest_first)})(?!\w)"
        return re.sub(words, lambda found: self.words[found[0].lower()], prompt, flags=re.I)


def make_tokenizer(files: Mapping[str, str], otherwise: Vocabulary | None = None) -> Tokenizer:
    """Make a tokenizer of its files, by name; `otherwise` is the vocabulary if none is among them.

    Raises ValueError for a file that is damaged or missing.
    """
    parsed = {
        name: parse_file(name, text) for name, text in files.items() if name.endswith(".json")
    }
    vocabulary = _vocabulary(parsed, files.get("merges.txt"), otherwise)
    marks, added = _tokens(parsed)
    try:
        model = BPE(
            dict(vocabulary.numbers), list(vocabulary.merges),
            unk_token=marks["unk_token"].content, end_of_word_suffix=END_OF_WORD,
        )  # fmt: skip
    except Exception as error:  # of no class of its own
        raise ValueError(f"the vocabulary of the tokenizer is damaged: {error}") from error
    pieces = Pieces(model)
    spaces = normalizers.Replace(Regex(r"\s+"), " ")
    pieces.normalizer = normalizers.Sequence([normalizers.NFC(), spaces, normalizers.Lowercase()])
    pieces.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    pieces.add_tokens(added)
    numbers = {token.content: number for number, token in pieces.get_added_tokens_decoder().items()}
    begin, end, pad = (
        numbers[marks[name].content] for name in ("bos_token", "eos_token", "pad_token")
    )
    length = parsed.get("tokenizer_config.json", {}).get("model_max_length", LENGTH)
    return Tokenizer(pieces, (begin,), (end,), pad, read_length(length))


def read_length(length: int) -> int:
    """Read how long texts may be; transformers writes a huge number where it does not know."""
    return length if length < 10**6 else LENGTH


def parse_file(name: str, text: str) -> dict[str, Any]:
    """Parse one of a tokenizer's files; raises ValueError for one that is no JSON object."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{name} of the tokenizer is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{name} of the tokenizer holds no object, but {type(found).__name__}")
    return found


def _vocabulary(
    parsed: Mapping[str, dict[str, Any]], merges: str | None, otherwise: Vocabulary | None
) -> Vocabulary:
    model = parsed.get("tokenizer.json", {}).get("model")
    if model is not None:
        pairs = (pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"])
        return Vocabulary(model["vocab"], [(first, second) for first, second in pairs])
    if merges is not None and "vocab.json" in parsed:
        lines = (line for line in merges.split("\n") if line and not line.startswith("#version"))
        return Vocabulary(
            parsed["vocab.json"], [(first, second) for first, second in map(str.split, lines)]
        )
    if otherwise is None:
        raise ValueError("the tokenizer has neither tokenizer.json nor vocab.json and merges.txt")
    return otherwise


def _tokens(
    parsed: Mapping[str, dict[str, Any]],
) -> tuple[dict[str, AddedToken], list[AddedToken]]:
    """Give the marks by name, and all tokens that are found in a text before it is split.

    Files that do not list these tokens are old; there the map of special tokens is believed before
    the config.
    """
    config = parsed.get("tokenizer_config.json", {})
    listed = dict(_listed(config.get("added_tokens_decoder", {}).items()))
    named = {name: config[name] for name in _MARKS if config.get(name)}
    if "added_tokens_decoder" not in config:
        special = parsed.get("special_tokens_map.json", {})
        named |= {name: special[name] for name in _MARKS if special.get(name)}
        words = {str(_content(token)) for token in named.values()}
        listed |= _listed(
            (number, {"content": word, "special": word in words, "normalized": word not in words})
            for word, number in parsed.get("added_tokens.json", {}).items()
        )
        tokens = parsed.get("tokenizer.json", {}).get("added_tokens", [])
        listed |= _listed((token["id"], token) for token in tokens)
    by_content = {token.content: token for token in listed.values()}
    marks = {
        name: by_content.get(_content(token)) or _added(token, special=True)
        for name, token in {**_USUAL_MARKS, **named}.items()
    }
    added = [listed[number] for number in sorted(listed)]
    added += [token for token in marks.values() if token.content not in by_content]
    return marks, added


def _listed(tokens: Any) -> Iterator[tuple[int, AddedToken]]:
    for number, token in tokens:
        yield int(number), _added(token, special=token.get("special", False))


def _content(token: str | Mapping[str, Any]) -> str:
    return token if isinstance(token, str) else token["content"]


def _added(token: str | Mapping[str, Any], *, special: bool) -> AddedToken:
    if isinstance(token, str):
        return AddedToken(token, special=special)
    flags = {
        name: token[name]
        for name in ("single_word", "lstrip", "rstrip", "normalized")
        if name in token
    }
    return AddedToken(token["content"], special=special, **flags)
