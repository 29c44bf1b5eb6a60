"""How far down everything of a frame stands, and the corners of its wires."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .layers import Hop, Layers
from .measure import Measured
from .order import Rows
from .placed import PlacedBox, PlacedFrame, PlacedWire, Point
from .route import Run, tracks
from .scene import Back, End, Frame

LANE, TRACK, CHANNEL = 12, 10, 18
"""The distance of wires that go back, of wires side by side, and of wires from boxes."""
MARGIN = 18
HEAD, SMALL_HEAD = 44, 36
"""What the title of a loop takes, and that of a subgraph."""


@dataclass(frozen=True)
class Across:
    """A frame whose rows are ordered and whose boxes have their places along them.

    `ports` says how far right of its box or frame a port is, above (True) or below.
    """

    frame: Frame
    layers: Layers
    rows: Rows
    measured: Mapping[str, Measured]
    inner: Mapping[str, PlacedFrame]
    xs: Mapping[str, float]
    ports: Mapping[tuple[End, bool], float]
    width: float


def stack(across: Across) -> PlacedFrame:
    """Give everything its height in the picture, and every wire its corners."""
    return _Stack(across).finish()


class _Stack:
    def __init__(self, across: Across) -> None:
        self.across, self.frame, self.layers = across, across.frame, across.layers
        self.lanes = len(across.frame.backs)
        self.heights = [max([self.height(n) for n in row if self.ends(n, r)], default=0)
                        for r, row in enumerate(across.rows)]  # fmt: skip
        self.channels = [self.channel(row) for row in range(len(across.rows) - 1)]
        self.stretch()

    def height(self, name: str) -> float:
        inner = self.across.inner.get(name)
        if inner:
            return inner.height
        return self.across.measured[name].height if name in self.across.measured else 0

    def ends(self, name: str, row: int) -> bool:
        """Tell whether a thing decides the height of its row: what is tall does not."""
        return self.layers.extent[name] == (row, row)

    def channel(self, row: int) -> tuple[dict[int, int], int]:
        nets: dict[int, list[Hop]] = {}
        for hop in self.layers.hops:
            if hop.row == row:
                nets.setdefault(hop.net, []).append(hop)
        return tracks(
            [
                Run(
                    net,
                    tuple(dict.fromkeys(self.x(hop.source, above=False) for hop in hops)),
                    tuple(dict.fromkeys(self.x(hop.target, above=True) for hop in hops)),
                )
                for net, hops in nets.items()
            ]
        )

    def x(self, end: End, *, above: bool) -> float:
        return self.across.xs[end.box] + self.across.ports.get((end, above), 0)

    def stretch(self) -> None:
        """Find where rows begin, and make room where something tall needs more."""
        self.gaps: list[float] = [
            2 * CHANNEL + TRACK * max(count - 1, 0) for _, count in self.channels
        ]
        if not self.frame.entries:
            self.gaps[0] = 0
        for name in self.layers.tall:
            first, last = self.layers.extent[name]
            have = sum(self.heights[first : last + 1]) + sum(self.gaps[first:last])
            missing = self.height(name) - have
            if missing > 0:
                for row in range(first, last):
                    self.gaps[row] += missing / (last - first)
        top = 0.0
        if self.frame.name:
            top = 10 + self.lanes * LANE if self.lanes else 8
            head = HEAD if self.frame.is_loop else SMALL_HEAD
            self.heights[0] = max(
                self.heights[0], head - top - (CHANNEL if self.frame.entries else 0)
            )
        self.tops = [top]
        for height, gap in zip(self.heights, self.gaps, strict=False):
            self.tops.append(self.tops[-1] + height + gap)
        bottom = self.tops[-1] + self.heights[-1]
        stands = any(exit.role == "variable" for exit in self.frame.exits)
        self.total = bottom + (10 + self.lanes * LANE if stands and self.frame.name else 0)

    def y(self, name: str) -> float:
        """Find the upper edge: passages are on the border, what is tall ends with its row."""
        first, last = self.layers.extent[name]
        if name in self.across.measured and self.across.measured[name].box.role == "passage":
            return 0 if first == 0 else self.total
        if last > first:
            return self.tops[last] + self.heights[last] - self.height(name)
        return self.tops[first]

    def finish(self) -> PlacedFrame:
        measured = self.across.measured
        boxes = {n: PlacedBox(own, self.across.xs[n], self.y(n)) for n, own in measured.items()}
        frames = [f.moved(self.across.xs[n], self.y(n)) for n, f in self.across.inner.items()]
        wires = [
            PlacedWire(wire, self.corners(path))
            for wire, path in zip(self.frame.wires, self.layers.paths, strict=True)
        ]
        wires += [
            PlacedWire(back, self.way_back(number, back, boxes))
            for number, back in enumerate(self.frame.backs)
        ]
        return PlacedFrame(
            self.frame, 0, 0, self.across.width, self.total,
            tuple(boxes.values()), tuple(frames), tuple(wires),
        )  # fmt: skip

    def corners(self, path: Sequence[End]) -> tuple[Point, ...]:
        """Lead a wire from port to port: down, sideways on its track in each channel, down."""
        start, goal = path[0], path[-1]
        row = self.layers.extent[start.box][1]
        net = next(
            hop.net for hop in self.layers.hops if hop.source == start and hop.target == path[1]
        )
        points = [Point(self.x(start, above=False), self.leaves(start))]
        for end in path[1:]:
            x = self.x(end, above=True)
            if abs(x - points[-1].x) > 0.01:
                count = self.channels[row][1]
                top = self.tops[row] + self.heights[row]
                first = top + (self.gaps[row] - TRACK * (count - 1)) / 2
                y = first + TRACK * self.channels[row][0].get(net, 0)
                points += [Point(points[-1].x, y), Point(x, y)]
            row += 1
        return (*points, Point(self.x(goal, above=True), self.arrives(goal)))

    def leaves(self, end: End) -> float:
        """Find the height at which a wire leaves: of a loop, from the variable in it."""
        inner = self.across.inner.get(end.box)
        if inner:
            exit = next(box for box in inner.boxes if end.port in box.measured.outputs)
            return self.y(end.box) + exit.y + exit.measured.height
        return self.y(end.box) + self.height(end.box)

    def arrives(self, end: End) -> float:
        """Find the height at which a wire arrives: in a loop, at the variable in it."""
        inner = self.across.inner.get(end.box)
        if inner:
            entry = next(box for box in inner.boxes if end.port in box.measured.inputs)
            return self.y(end.box) + entry.y
        return self.y(end.box)

    def way_back(self, lane: int, back: Back, boxes: Mapping[str, PlacedBox]) -> tuple[Point, ...]:
        """Lead what a loop carries from below its last row round the right side to its first."""
        source, target = boxes[back.source], boxes[back.target]
        right = self.across.width - MARGIN / 2 - LANE * lane
        down, up = source.x + source.measured.back, target.x + target.measured.back
        bottom = source.y + source.measured.height
        below, above = self.total - 8 - LANE * lane, 8 + LANE * lane
        return (
            Point(down, bottom), Point(down, below), Point(right, below),
            Point(right, above), Point(up, above), Point(up, target.y),
        )  # fmt: skip
