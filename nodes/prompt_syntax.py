"""How people write weights into a prompt, as pure text: no tokenizer, no tensor.

`(words)` weigh 1.1, `((words))` 1.1 squared, `[words]` 1 / 1.1, `(words:1.3)` 1.3; brackets within
brackets multiply. A backslash makes the bracket or backslash behind it a letter, `BREAK` in
capitals starts a new chunk. A bracket that nothing closes holds to the end, one that closes
nothing is a letter: every text has a reading, that of AUTOMATIC1111's web UI.
"""

import re
from itertools import groupby
from typing import NamedTuple

_MARK = re.compile(
    r"""\\[()\[\]\\]
      | (?P<open>[(\[])
      | :\s*(?P<weight>[+-]?(?:\d+(?:\.\d*)?|\.\d+))\s*\)
      | (?P<close>[)\]])
      | (?P<chunk>\bBREAK\b)""",
    re.VERBOSE,
)
_WEIGHTED = re.compile(r"(?<!\\)\((?=[^()]*[^\W\d_])[^()]*[^()\d\s]\s*:\s*\d*\.?\d+\s*\)")
_WEIGHTS = {"(": 1.1, "[": 1 / 1.1}
_OPENS = {")": "(", "]": "["}


class Piece(NamedTuple):
    """Some words and how much they weigh; 1 = as written."""

    text: str
    weight: float


def parse_weights(prompt: str) -> list[list[Piece]]:
    """Read a prompt as pieces of one weight each, in a list for every part between BREAKs."""
    pieces: list[Piece | None] = []  # None is a BREAK
    opened: dict[str, list[int]] = {"(": [], "[": []}
    end = 0
    for mark in _MARK.finditer(prompt):
        pieces.append(Piece(prompt[end : mark.start()], 1.0))
        end = mark.end()
        bracket = "(" if mark["weight"] else _OPENS.get(mark["close"])
        if mark["open"]:
            opened[mark["open"]].append(len(pieces))
        elif mark["chunk"]:
            pieces.append(None)
        elif bracket and opened[bracket]:
            weight = float(mark["weight"] or _WEIGHTS[bracket])
            _multiply(pieces, opened[bracket].pop(), weight)
        else:
            pieces.append(Piece(mark[0].removeprefix("\\"), 1.0))
    pieces.append(Piece(prompt[end:], 1.0))
    for bracket, starts in opened.items():
        for start in starts:
            _multiply(pieces, start, _WEIGHTS[bracket])
    parts: list[list[Piece]] = [[]]
    for piece in pieces:
        if piece is None:
            parts.append([])
        elif piece.text:
            parts[-1].append(piece)
    return [_joined(part) for part in parts]


def find_weight(prompt: str) -> str | None:
    """Find the first `(words:1.3)`, which nobody writes who does not mean a weight."""
    found = _WEIGHTED.search(prompt)
    return found[0] if found else None


def _multiply(pieces: list[Piece | None], start: int, weight: float) -> None:
    for index, piece in enumerate(pieces[start:], start):
        if piece is not None:
            pieces[index] = Piece(piece.text, piece.weight * weight)


def _joined(pieces: list[Piece]) -> list[Piece]:
    """Put neighbours of one weight together: a tokenizer reads words, not their halves."""
    return [
        Piece("".join(piece.text for piece in group), weight)
        for weight, group in groupby(pieces, lambda piece: piece.weight)
    ]
