"""A picture as SVG: one file, light and dark, that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from xml.sax.saxutils import escape, quoteattr

from .layout import lay_out
from .measure import BESIDE, CHIP_PAD, TITLE, text_width
from .placed import PlacedBox, PlacedFrame, PlacedWire, Point
from .scene import Back, Detail, End, Frame, Port, Scene, boxes_of, frames_of
from .theme import HUES, style_sheet

EDGE = 28
ROUND = 8
ROW = 22
NEXT_STEP = "handed to the next step"


def svg(scene: Scene) -> str:
    """Draw a scene; the same scene gives the same text."""
    placed = lay_out(scene.root)
    nets = _nets(scene.root)
    width = max(placed.width, 420) + 2 * EDGE
    head, top = _head(scene, width)
    legend, bottom = _legend(scene, width, top + placed.height + 34)
    shifted = placed.moved((width - placed.width) / 2, top)
    height = bottom + EDGE - 8
    size = f'viewBox="0 0 {_n(width)} {_n(height)}" width="{_n(width)}" height="{_n(height)}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" '
            f"aria-label={quoteattr(f'the graph {scene.title}')}>",
            f"<style>\n{style_sheet()}</style>",
            f'<rect class="paper" width="{_n(width)}" height="{_n(height)}" rx="12"/>',
            *head,
            *_frame(shifted, nets),
            *legend,
            "</svg>\n",
        ]
    )


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _text(style: str, x: float, y: float, text: str) -> str:
    if not text:
        return ""
    return f'<text class="{style}" x="{_n(x)}" y="{_n(y)}">{escape(text)}</text>'


def _head(scene: Scene, width: float) -> tuple[list[str], float]:
    """Write what stands above the picture: its name, what it is, and its inputs."""
    lines = [_text("head start", EDGE, EDGE + 22, scene.title)]
    y = EDGE + 22.0
    for line in _wrapped(scene.doc, width - 2 * EDGE):
        y += 20
        lines.append(_text("doc muted start", EDGE, y, line))
    y += 14
    x = float(EDGE)
    for name, value in scene.inputs:
        words = [("input-text", name), ("chip-text", value)]
        widths = [text_width(word, 10) for _, word in words]
        own = widths[0] + (widths[1] + 6 if value else 0) + 2 * CHIP_PAD
        if x + own > width - EDGE and x > EDGE:
            x, y = EDGE, y + ROW
        lines.append(_chip(x, y, own, 17, is_input=True))
        lines.append(_text("input-text start", x + CHIP_PAD, y + 12, name))
        if value:
            lines.append(_text("chip-text start", x + CHIP_PAD + widths[0] + 6, y + 12, value))
        x += own + 6
    y += 17 if scene.inputs else -8
    if scene.facts:
        y += 20
        lines.append(_text("fact muted start", EDGE, y, scene.facts))
    return lines, y + 24


def _wrapped(words: str, width: float) -> list[str]:
    lines: list[str] = []
    for word in words.split():
        if lines and text_width(f"{lines[-1]} {word}", 13) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _chip(x: float, y: float, width: float, height: float, *, is_input: bool) -> str:
    style = "chip input" if is_input else "chip"
    at = f'x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}"'
    return f'<rect class="{style}" {at} rx="{_n(height / 2)}"/>'


def _legend(scene: Scene, width: float, y: float) -> tuple[list[str], float]:
    """Say what the colours mean, of those that are in the picture, and the thick line."""
    used = {port.hue for box in boxes_of(scene.root) for port in (*box.inputs, *box.outputs)}
    hues = [hue for hue in HUES if hue in used]
    backs = [back.hue for frame in frames_of(scene.root) for back in frame.backs][:1]
    x, lines = float(EDGE), list[str]()
    for words in [*hues, *(NEXT_STEP for _ in backs)]:
        own = text_width(words, 10) + 32
        if x + own > width - EDGE:
            x, y = EDGE, y + ROW
        if words == NEXT_STEP:
            line = f"M{_n(x)} {_n(y - 3.5)}h16"
            tip = f"<title>{words}</title>"
            lines.append(f'<path class="wire back {backs[0]}" d="{line}">{tip}</path>')
            x += 8
        else:
            at = f'cx="{_n(x + 5)}" cy="{_n(y - 3.5)}"'
            lines.append(f'<circle class="port {words}" {at} r="4.5"/>')
        lines.append(_text("label start", x + 14, y, words))
        x += own
    return lines, y


def _nets(root: Frame) -> dict[str, list[str]]:
    """Name the nets by numbers: those of every wire's source, and those that meet at every box."""
    nets: dict[str, list[str]] = {}
    numbers: dict[str, str] = {}
    for frame in frames_of(root):
        for wire in frame.wires:
            number = numbers.setdefault(_key(wire.origin), f"n{len(numbers)}")
            nets[_key(wire.origin)] = [number]
            # A wire to a loop ends at the variable in it, which its port is named after.
            for name in (wire.source.box, wire.target.box, wire.target.port):
                nets.setdefault(name, []).append(number)
        for back in frame.backs:
            number = numbers.setdefault(back.source, f"n{len(numbers)}")
            for name in (back.source, back.target):
                nets.setdefault(name, []).append(number)
    return nets


def _key(end: End) -> str:
    return f"{end.box}:{end.port}"


def _frame(placed: PlacedFrame, nets: Mapping[str, list[str]]) -> Iterator[str]:
    frame = placed.frame
    if frame.name:
        style = "loop" if frame.is_loop else "group"
        at = f'x="{_n(placed.x)}" y="{_n(placed.y)}"'
        size = f'width="{_n(placed.width)}" height="{_n(placed.height)}" rx="14"'
        yield f"<g>{_tip(frame.detail)}"
        yield f'<rect class="{style}" {at} {size}/>'
        title = "title loop-title start" if frame.is_loop else "title muted start"
        yield _text(title, placed.x + 18, placed.y + 24, frame.title)
        right = 0 if frame.is_loop else text_width(frame.title, TITLE, bold=True) + BESIDE
        down = 39 if frame.is_loop else 24
        yield _text("node start", placed.x + 18 + right, placed.y + down, frame.subtitle)
        yield "</g>"
    for inner in placed.frames:
        yield from _frame(inner, nets)
    for wire in placed.wires:
        yield _wire(wire, nets)
    for box in placed.boxes:
        yield from _box(box, nets)


def _tip(detail: Detail | None) -> str:
    return f"<title>{escape(tip_text(detail))}</title>" if detail else ""


def tip_text(detail: Detail) -> str:
    """Write what is told of a box that is pointed at."""
    rows = [f"{name}: {words}" for name, words in detail.rows]
    parts = [
        detail.heading,
        detail.doc.split("\n\n")[0],
        "\n".join(rows),
        f"{detail.place}\n{detail.excerpt}".strip(),
    ]
    return "\n\n".join(filter(None, parts))


def _wire(placed: PlacedWire, nets: Mapping[str, list[str]]) -> str:
    wire = placed.wire
    is_back = isinstance(wire, Back)
    net = nets[wire.source][-1] if isinstance(wire, Back) else nets[_key(wire.origin)][0]
    style = f"wire back {wire.hue} {net}" if is_back else f"wire {wire.hue} {net}"
    path = f'<path class="{style}" d="{_rounded(placed.points)}">'
    line = f"{path}<title>{escape(wire.words)}</title></path>"
    if is_back:
        x, y = placed.points[-1]
        tip = f"M{_n(x - 5)} {_n(y - 8)}L{_n(x + 5)} {_n(y - 8)}L{_n(x)} {_n(y)}Z"
        line += f'<path class="tip {wire.hue}" d="{tip}"/>'
    return line


def _rounded(points: Sequence[Point]) -> str:
    """Draw a line through corners, each of them rounded."""
    start, end = points[0], points[-1]
    path = f"M{_n(start.x)} {_n(start.y)}"
    before = start
    for corner, after in pairwise(points[1:]):
        lengths = [abs(corner.x - other.x) + abs(corner.y - other.y) for other in (before, after)]
        radius = min(ROUND, lengths[0] / (1 if before is start else 2), lengths[1] / 2)
        one, other = _toward(corner, before, radius), _toward(corner, after, radius)
        path += (
            f"L{_n(one.x)} {_n(one.y)}Q{_n(corner.x)} {_n(corner.y)} {_n(other.x)} {_n(other.y)}"
        )
        before = corner
    return f"{path}L{_n(end.x)} {_n(end.y)}"


def _toward(corner: Point, other: Point, distance: float) -> Point:
    whole = abs(corner.x - other.x) + abs(corner.y - other.y)
    part = distance / whole if whole else 0
    return Point(corner.x + (other.x - corner.x) * part, corner.y + (other.y - corner.y) * part)


def _box(placed: PlacedBox, nets: Mapping[str, list[str]]) -> Iterator[str]:
    box, own = placed.box, placed.measured
    if box.role == "passage":
        port = (*box.inputs, *box.outputs)[0]
        yield _port(port, placed.x, placed.y, 3)
        return
    mine = " ".join(dict.fromkeys(nets.get(box.name, ())))
    yield f'<g class="{mine}">{_tip(box.detail)}'
    style = "box when" if box.conditional else "box"
    radius = own.height / 2 if box.role == "variable" else 8
    at = f'x="{_n(placed.x)}" y="{_n(placed.y)}" width="{own.width}" height="{own.height}"'
    yield f'<rect class="{style}" {at} rx="{_n(min(radius, 16))}"/>'
    for chip in own.chips:
        x, y = placed.x + chip.x, placed.y + chip.y
        yield _chip(x, y, chip.width, chip.height, is_input=chip.is_input)
        words = "input-text" if chip.is_input else "chip-text"
        yield _text(words, x + chip.width / 2, y + 11.5, chip.text)
    for text in (*own.texts, *own.labels()):
        yield _text(text.style, placed.x + text.x, placed.y + text.y, text.text)
    for ports, places, y in (
        (box.inputs, own.inputs, placed.y),
        (box.outputs, own.outputs, placed.y + own.height),
    ):
        for port in ports:
            yield _port(port, placed.x + places[port.key], y, 4)
    yield "</g>"


def _port(port: Port, x: float, y: float, radius: float) -> str:
    return f'<circle class="port {port.hue}" cx="{_n(x)}" cy="{_n(y)}" r="{_n(radius)}"/>'
