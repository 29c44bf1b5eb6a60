"""From what a picture shows to where it is: the widths to try, frames in frames, rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .layers import Hop, Item, Layers, is_bend, layer
from .measure import BESIDE, NODE, TITLE, measure, text_width
from .order import Rows, order_rows, port_order
from .place import place
from .placed import PlacedFrame
from .scene import Box, End, Frame
from .stack import HEAD, LANE, MARGIN, Across, stack

WIDEST = (560, 660, 760, 860, 960, 1060, 1160)
"""How wide a row may be before what stands in it moves up: what is tried."""
INNER = 960
"""The same for what stands in an inner frame."""
PAGE = 900
"""How wide a page is."""
NUDGE = 9
"""How far a port may move to make its wire straight."""
ROW = 95
"""About how high a row is, with the wires below it."""


Known = dict[tuple[str, tuple[str, ...]], PlacedFrame]
"""Inner frames that are laid out, by their names and the order of the wires to them."""


def lay_out(frame: Frame) -> PlacedFrame:
    """Lay a frame out, and what is in it: as the best of some widths."""
    known: Known = {}
    found = [_Layout(frame, (), widest, known).placed() for widest in WIDEST]
    return min(found, key=_size_on_a_page)


def _size_on_a_page(placed: PlacedFrame) -> float:
    """Weigh the height of a picture that is made to fit a page, and how small it becomes there."""
    return placed.height * (max(placed.width, PAGE) / PAGE) ** 1.5


class _Layout:
    def __init__(self, frame: Frame, outside: Sequence[str], widest: int, known: Known) -> None:
        self.frame, self.outside, self.widest, self.known = frame, outside, widest, known
        self.inner = {f.name: self.inside(f, ()) for f in frame.items if isinstance(f, Frame)}
        self.goes_back = {name for back in frame.backs for name in (back.source, back.target)}
        self.boxes = {
            box.name: box
            for box in (*frame.entries, *frame.items, *frame.exits)
            if isinstance(box, Box)
        }
        self.measured = {
            name: measure(box, back=name in self.goes_back) for name, box in self.boxes.items()
        }
        self.head = round(_head_width(frame))

    def placed(self) -> PlacedFrame:
        layers, rows = self.layered()
        if self.inner:
            self.align(layers, rows)
            layers, rows = self.layered()
        above, below = port_order(rows, layers.hops, self.fractions())
        for name, box in self.boxes.items():
            self.measured[name] = measure(
                box, above.get(name, ()), below.get(name, ()), back=name in self.goes_back
            )
        widths = {name: self.width(name) for row in rows for name in row}
        ports = self.ports()
        lanes = len(self.frame.backs)
        margins = (MARGIN, MARGIN + lanes * LANE)
        xs, width = place(rows, widths, ports, layers.hops, margins)
        self.straighten(layers.hops, xs)
        ports = self.ports()
        return stack(Across(self.frame, layers, rows, self.measured, self.inner, xs, ports, width))

    def align(self, layers: Layers, rows: Rows) -> None:
        """Lay the inner frames out again, now that the order of the wires to them is known."""
        sources, _ = port_order(rows, layers.hops, self.fractions())
        for name, inner in self.inner.items():
            owners = {port.key: box.name for box in inner.frame.entries for port in box.inputs}
            outside = [owners[key] for key in sources.get(name, ())]
            self.inner[name] = self.inside(inner.frame, tuple(outside))

    def inside(self, frame: Frame, outside: tuple[str, ...]) -> PlacedFrame:
        """Lay an inner frame out; the same again for each width that is tried."""
        key = (frame.name, outside)
        if key not in self.known:
            self.known[key] = _Layout(frame, outside, INNER, self.known).placed()
        return self.known[key]

    def straighten(self, hops: Sequence[Hop], xs: Mapping[str, float]) -> None:
        """Move ports a little where that makes a wire straight."""
        ports = self.ports()
        for hop in hops:
            own = self.measured.get(hop.target.box)
            if own is None or own.box.role == "passage":
                continue
            x = xs[hop.source.box] + ports.get((hop.source, False), 0) - xs[hop.target.box]
            others = [other for key, other in own.inputs.items() if key != hop.target.port]
            free = min([abs(x - other) for other in others], default=NUDGE * 2) >= NUDGE * 2
            if abs(x - own.inputs[hop.target.port]) <= NUDGE and free:
                own.inputs[hop.target.port] = x

    def layered(self) -> tuple[Layers, Rows]:
        """Put everything in rows; what is tall stands in one row where it would be crossed."""
        flat: set[str] = set()
        while True:
            items = [self.item(item.name, flat) for item in self.frame.items]
            entries = [self.item(box.name, flat) for box in self.frame.entries]
            exits = [self.item(box.name, flat) for box in self.frame.exits]
            if self.head:
                entries.insert(0, Item("<head>", self.head))
            layers = layer(
                entries, items, exits, self.frame.wires, self.widest, open=not self.frame.name
            )
            alone = _alone(layers)
            if alone:
                flat |= alone
                continue
            rows = order_rows(layers, self.edges(layers), self.fractions(), self.outside)
            crossed = _crossed(layers, rows)
            if not crossed:
                return layers, rows
            flat |= crossed

    def item(self, name: str, flat: set[str]) -> Item:
        inner = self.inner.get(name)
        span = 1
        if inner and name not in flat:
            span = max(1, round((inner.height - HEAD) / ROW))
        return Item(name, self.width(name), span)

    def edges(self, layers: Layers) -> dict[str, int]:
        """Say what stands at the ends of rows: the title, what goes back, what is tall."""
        found = {"<head>": -1}
        for number, back in enumerate(self.frame.backs, 1):
            found |= {back.source: number, back.target: number}
        tall = sorted(
            layers.tall, key=lambda name: (layers.extent[name][1], -layers.extent[name][0], name)
        )
        return found | {name: number for number, name in enumerate(tall, 1)}

    def width(self, name: str) -> int:
        if name == "<head>":
            return self.head
        if is_bend(name):
            return 0
        inner = self.inner.get(name)
        return round(inner.width) if inner else self.measured[name].width

    def ports(self) -> dict[tuple[End, bool], float]:
        """Say how far right each port is on its box or frame: above (True) or below."""
        found: dict[tuple[End, bool], float] = {}
        for name, own in self.measured.items():
            found |= {(End(name, key), True): x for key, x in own.inputs.items()}
            found |= {(End(name, key), False): x for key, x in own.outputs.items()}
        for name, inner in self.inner.items():
            for box in inner.boxes:
                x = box.x
                if box.box in inner.frame.entries:
                    ins = box.measured.inputs.items()
                    found |= {(End(name, key), True): x + own for key, own in ins}
                elif box.box in inner.frame.exits:
                    outs = box.measured.outputs.items()
                    found |= {(End(name, key), False): x + own for key, own in outs}
        return found

    def fractions(self) -> dict[End, float]:
        """Say where along a frame its ports are, from 0 to 1."""
        return {
            end: x / self.inner[end.box].width
            for (end, _), x in self.ports().items()
            if end.box in self.inner
        }


def _head_width(frame: Frame) -> float:
    if not frame.name:
        return 0
    title = text_width(frame.title, TITLE, bold=True)
    subtitle = text_width(frame.subtitle, NODE, monospaced=True)
    return max(title, subtitle) + 4 if frame.is_loop else title + BESIDE + subtitle


def _alone(layers: Layers) -> set[str]:
    """Name what is tall and has nothing beside it but wires: it needs one row only."""
    return {
        name
        for name in layers.tall
        if all(
            other == name or is_bend(other)
            for row in range(layers.extent[name][0], layers.extent[name][1] + 1)
            for other in layers.rows[row]
        )
    }


def _crossed(layers: Layers, rows: Rows) -> set[str]:
    """Name what is tall and has a hop from one side of it to the other."""
    crossed: set[str] = set()
    for name in layers.tall:
        first, last = layers.extent[name]
        for hop in layers.hops:
            if first <= hop.row < last and name not in (hop.source.box, hop.target.box):
                upper, lower = rows[hop.row], rows[hop.row + 1]
                before = upper.index(hop.source.box) < upper.index(name)
                if before != (lower.index(hop.target.box) < lower.index(name)):
                    crossed.add(name)
    return crossed
