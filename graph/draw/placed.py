"""A picture whose every part has its place, as plain data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from .measure import Measured
from .scene import Back, Box, Frame, Wire


class Point(NamedTuple):
    """A place in the picture: to the right and downwards, in pixels."""

    x: float
    y: float


@dataclass(frozen=True)
class PlacedBox:
    """A box and its upper left corner."""

    measured: Measured
    x: float
    y: float

    @property
    def box(self) -> Box:
        """What it shows."""
        return self.measured.box


@dataclass(frozen=True)
class PlacedWire:
    """A wire and its corners; a `back` goes to the next step of a loop."""

    wire: Wire | Back
    points: tuple[Point, ...]


@dataclass(frozen=True)
class PlacedFrame:
    """A frame with all that is in it; every place counts from one origin."""

    frame: Frame
    x: float
    y: float
    width: float
    height: float
    boxes: tuple[PlacedBox, ...]
    frames: tuple[PlacedFrame, ...]
    wires: tuple[PlacedWire, ...]

    def moved(self, dx: float, dy: float) -> PlacedFrame:
        """Move it with all that is in it."""
        return replace(
            self,
            x=self.x + dx,
            y=self.y + dy,
            boxes=tuple(replace(box, x=box.x + dx, y=box.y + dy) for box in self.boxes),
            frames=tuple(frame.moved(dx, dy) for frame in self.frames),
            wires=tuple(
                replace(wire, points=tuple(Point(x + dx, y + dy) for x, y in wire.points))
                for wire in self.wires
            ),
        )

    def walk(self) -> Iterator[PlacedFrame]:
        """Walk over it and the frames in it, the outer ones first."""
        yield self
        for frame in self.frames:
            yield from frame.walk()
