"""How large things are, in pixels: texts, boxes, and where on them their ports are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from .scene import Box, Port

# Widths of Helvetica's letters in thousandths of its size; most sans-serif faces are near.
_LETTERS = {
    222: "ijl'|‘’",
    278: " .,:;/\\!It[]f·",
    333: '()-r`"{}',
    400: "*°",
    500: "cksvxyzJ",
    556: "abdeghnopqu0123456789L_?#$",
    600: "+=<>~×^FTZ",
    667: "ABEKPSVXY&",
    722: "CDHNRUw",
    780: "GOQ",
    840: "Mm",
    944: "%W",
}
_WIDTHS = {letter: width for width, letters in _LETTERS.items() for letter in letters}
_OTHER_LETTER = 1000
_ALLOWANCE = 1.08  # for the wider of the faces that a reader may have
_BOLD = 1.07
MONOSPACED = 0.61

TITLE, NODE, LABEL, CHIP, NOTE = 13.0, 10.5, 10.0, 10.0, 9.5
"""Sizes of type: a box's title, its node type, its ports' labels, its settings, its cost."""

PAD, GAP = 12, 14
LABEL_ROW, TITLE_ROW, NODE_ROW, CHIP_ROW, NOTE_ROW = 16, 20, 14, 20, 14
BESIDE, NARROWEST = 8, 96
CHIP_PAD, CHIP_GAP = 7, 5
WIDEST_CHIPS = 190
BACK_ROOM = 26
"""What a variable that goes back to the next step keeps free for that wire."""


def text_width(text: str, size: float, *, bold: bool = False, monospaced: bool = False) -> float:
    """Estimate how wide a text is set."""
    if monospaced:
        return len(text) * size * MONOSPACED
    thousandths = sum(_WIDTHS.get(letter, _OTHER_LETTER) for letter in text)
    return thousandths / 1000 * size * _ALLOWANCE * (_BOLD if bold else 1)


@dataclass(frozen=True)
class Text:
    """A line of text in a box: its style, its centre and its baseline."""

    style: str
    text: str
    x: float
    y: float


@dataclass(frozen=True)
class Chip:
    """A setting in a box, in a frame of its own."""

    text: str
    is_input: bool
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Measured:
    """A box with its size; `inputs` and `outputs` say where on its border each port is."""

    box: Box
    width: int
    height: int
    inputs: dict[str, float]
    outputs: dict[str, float]
    texts: tuple[Text, ...] = ()
    chips: tuple[Chip, ...] = ()
    back: int = 0

    def labels(self) -> Iterator[Text]:
        """Write the names of the ports beside them."""
        for ports, places, y in (
            (self.box.inputs, self.inputs, LABEL_ROW),
            (self.box.outputs, self.outputs, self.height - 8),
        ):
            for port in ports:
                yield Text("label", label_of(port), places[port.key], y)


def measure(
    box: Box, inputs: Sequence[str] = (), outputs: Sequence[str] = (), *, back: bool = False
) -> Measured:
    """Measure a box whose ports are to stand in these orders; `back` if a loop's wire joins it."""
    if box.role == "passage":
        at = {port.key: 0.0 for port in (*box.inputs, *box.outputs)}
        return Measured(box, 0, 0, at, at)
    upper, lower = _ordered(box.inputs, inputs), _ordered(box.outputs, outputs)
    content = max(
        _labels_width(upper),
        _labels_width(lower),
        text_width(box.title, TITLE, bold=True),
        text_width(box.note, NOTE),
        text_width(_node_shown(box), NODE, monospaced=True),
    )
    rows = _chip_rows(box, max(content, WIDEST_CHIPS))
    content = max([content, *(_row_width(row) for row in rows)])
    beside = _title_width(box) <= max(content, NARROWEST)
    content = max(content, _title_width(box) if beside else 0)
    room = BACK_ROOM if back else 0
    width = _even(content + 2 * PAD) + room
    middle = (width - room) / 2
    y = 6.0 + (LABEL_ROW if any(port.label for port in upper) else 0)
    texts = _title(box, width / 2, y + 14, beside=beside)
    y += TITLE_ROW if beside else TITLE_ROW + NODE_ROW
    chips: list[Chip] = []
    for row in rows:
        chips += _chips(row, middle, y + 1)
        y += CHIP_ROW
    if box.note:
        texts.append(Text("note", box.note, middle, y + 9))
        y += NOTE_ROW
    y += LABEL_ROW if any(label_of(port) for port in lower) else 0
    return Measured(
        box, width, round(y + 6),
        _places(upper, width - room), _places(lower, width - room),
        tuple(texts), tuple(chips), width - BACK_ROOM // 2 - 4,
    )  # fmt: skip


def _even(value: float) -> int:
    return 2 * -int(-value // 2)


def _ordered(ports: Sequence[Port], keys: Sequence[str]) -> list[Port]:
    place = {key: index for index, key in enumerate(keys)}
    return sorted(ports, key=lambda port: place.get(port.key, len(place)))


def label_of(port: Port) -> str:
    """Write what stands beside an output: its name, and the shape of what flows out of it."""
    shape = port.shape.split(" ")[0]
    shape = shape if "×" in shape else ""
    return " ".join(filter(None, (port.label, shape)))


def _label_widths(ports: Iterable[Port]) -> list[float]:
    return [max(text_width(label_of(port), LABEL), 8) for port in ports]


def _labels_width(ports: Sequence[Port]) -> float:
    return sum(_label_widths(ports)) + GAP * max(len(ports) - 1, 0)


def _centres(ports: Sequence[Port], width: int) -> list[float]:
    """Spread ports over a border: each has the room of its label, and all the same of the rest."""
    widths = _label_widths(ports)
    spare = (width - sum(widths)) / max(len(ports), 1)
    centres: list[float] = []
    x = 0.0
    for own in widths:
        centres.append(x + (own + spare) / 2)
        x += own + spare
    return centres


def _places(ports: Sequence[Port], width: int) -> dict[str, float]:
    centres = _centres(ports, width)
    return {port.key: round(x) for port, x in zip(ports, centres, strict=True)}


def _node_shown(box: Box) -> str:
    return box.node if box.node != box.title else ""


def _title_width(box: Box) -> float:
    own = text_width(box.title, TITLE, bold=True)
    node = _node_shown(box)
    return own + BESIDE + text_width(node, NODE, monospaced=True) if node else own


def _title(box: Box, middle: float, y: float, *, beside: bool) -> list[Text]:
    """Write the name of a box, and beside or below it what node it calls."""
    node = _node_shown(box)
    title = Text("title", box.title, middle, y)
    if not node:
        return [title]
    if not beside:
        return [title, Text("node", node, middle, y + NODE_ROW)]
    own, other = text_width(box.title, TITLE, bold=True), text_width(node, NODE, monospaced=True)
    left = middle - (own + BESIDE + other) / 2
    return [
        Text("title", box.title, left + own / 2, y),
        Text("node", node, left + own + BESIDE + other / 2, y),
    ]


def _chip_width(words: str) -> float:
    return text_width(words, CHIP) + 2 * CHIP_PAD


def _chip_rows(box: Box, widest: float) -> list[list[tuple[str, bool, float]]]:
    rows: list[list[tuple[str, bool, float]]] = []
    for setting in box.settings:
        chip = (setting.words, setting.is_input, _chip_width(setting.words))
        if rows and _row_width([*rows[-1], chip]) <= widest:
            rows[-1].append(chip)
        else:
            rows.append([chip])
    return rows


def _row_width(row: Sequence[tuple[str, bool, float]]) -> float:
    return sum(width for _, _, width in row) + CHIP_GAP * (len(row) - 1)


def _chips(row: Sequence[tuple[str, bool, float]], middle: float, y: float) -> list[Chip]:
    x = middle - _row_width(row) / 2
    chips: list[Chip] = []
    for words, is_input, width in row:
        chips.append(Chip(words, is_input, x, y, width, CHIP_ROW - 4))
        x += width + CHIP_GAP
    return chips
