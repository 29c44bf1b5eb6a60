"""The order within every row, with few crossings: barycentre sweeps, then swaps of neighbours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from .layers import Hop, Layers
from .scene import End

SWEEPS = 16
MIDDLE = 0.5

Rows = list[list[str]]
Far = tuple[dict[str, list[tuple[float, int]]], dict[str, list[tuple[float, int]]]]
"""By name, where hops come from above and go below, and the nets that they are of."""


def order_rows(
    layers: Layers, edges: Mapping[str, int], ports: Mapping[End, float], outside: Sequence[str]
) -> Rows:
    """Order every row.

    `edges` holds what has its place at the left end of its row (below zero) or at the right one;
    `ports` says where along a frame a port is, from 0 to 1; `outside` is the order in which the
    wires come to the entries.
    """
    if outside:
        marks = {f"^{name}": place for place, name in enumerate(outside)}
        return order_rows(_below(list(marks), layers), {**edges, **marks}, ports, ())[1:]
    sweep = _Sweep(layers, edges, ports)
    rows = [sorted(row, key=lambda name: edges.get(name, 0)) for row in layers.rows]
    best, fewest = rows, sweep.crossings(rows)
    for number in range(SWEEPS):
        rows = sweep.down(rows) if number % 2 == 0 else sweep.up(rows)
        swapped = sweep.swap(rows)
        found = sweep.crossings(swapped)
        if found < fewest:
            best, fewest = swapped, found
    return best


def _below(outside: list[str], layers: Layers) -> Layers:
    """Put a row above all others, from which the wires to the entries come."""
    hops = [Hop(-1 - place, 0, End(mark, ""), End(mark[1:], ""))
            for place, mark in enumerate(outside)]  # fmt: skip
    hops += [replace(hop, row=hop.row + 1) for hop in layers.hops]
    extent = {name: (first + 1, last + 1) for name, (first, last) in layers.extent.items()}
    return Layers([outside, *layers.rows], extent, hops, layers.paths)


def port_order(
    rows: Rows, hops: Iterable[Hop], ports: Mapping[End, float]
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Order the ports of every box, above and below, by where their wires come from and go."""
    at = _positions(rows, ports)
    above: dict[str, dict[str, list[float]]] = {}
    below: dict[str, dict[str, list[float]]] = {}
    for hop in hops:
        came, goes = at(hop.source, hop.row), at(hop.target, hop.row + 1)
        above.setdefault(hop.target.box, {}).setdefault(hop.target.port, []).append(came)
        below.setdefault(hop.source.box, {}).setdefault(hop.source.port, []).append(goes)
    return _sorted(above), _sorted(below)


def _sorted(sides: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, list[str]]:
    return {
        box: sorted(found, key=lambda key: sum(found[key]) / len(found[key]))
        for box, found in sides.items()
    }


def _positions(rows: Rows, ports: Mapping[End, float]) -> Callable[[End, int], float]:
    index = [{name: place for place, name in enumerate(row)} for row in rows]
    return lambda end, row: index[row][end.box] + ports.get(end, MIDDLE)


class _Sweep:
    def __init__(
        self, layers: Layers, edges: Mapping[str, int], ports: Mapping[End, float]
    ) -> None:
        self.edges, self.ports, self.extent = edges, ports, layers.extent
        self.hops: list[list[Hop]] = [[] for _ in layers.rows]
        for hop in layers.hops:
            self.hops[hop.row].append(hop)

    def crossings(self, rows: Rows) -> int:
        at = _positions(rows, self.ports)
        return sum(self.crossings_below(row, at) for row in range(len(rows) - 1))

    def crossings_below(self, row: int, at: Callable[[End, int], float]) -> int:
        ends = [(at(h.source, row), at(h.target, row + 1), h.net) for h in self.hops[row]]
        return sum(
            (one[0] - other[0]) * (one[1] - other[1]) < 0 and one[2] != other[2]
            for index, one in enumerate(ends)
            for other in ends[:index]
        )

    def down(self, rows: Rows) -> Rows:
        rows = [list(row) for row in rows]
        for row in range(1, len(rows)):
            at = _positions(rows, self.ports)
            pulls: dict[str, list[float]] = {}
            for hop in self.hops[row - 1]:
                pulls.setdefault(hop.target.box, []).append(at(hop.source, row - 1))
            rows[row] = self.sorted(rows[row], pulls, len(rows[row - 1]))
        return rows

    def up(self, rows: Rows) -> Rows:
        rows = [list(row) for row in rows]
        for row in reversed(range(len(rows) - 1)):
            at = _positions(rows, self.ports)
            pulls: dict[str, list[float]] = {}
            for hop in self.hops[row]:
                pulls.setdefault(hop.source.box, []).append(at(hop.target, row + 1))
            rows[row] = self.sorted(rows[row], pulls, len(rows[row + 1]))
        return rows

    def sorted(
        self, row: Sequence[str], pulls: Mapping[str, Sequence[float]], other: int
    ) -> list[str]:
        """Sort a row by what pulls at each; what nothing pulls at stays where it is."""
        wanted: dict[str, float] = {}
        for place, name in enumerate(row):
            own = pulls.get(name)
            wanted[name] = (
                sum(own) / len(own) / max(other, 1) if own else (place + MIDDLE) / len(row)
            )
        return sorted(row, key=lambda name: (self.edges.get(name, 0), wanted[name]))

    def swap(self, rows: Rows) -> Rows:
        """Swap neighbours as long as that takes crossings away."""
        rows = [list(row) for row in rows]
        better = True
        while better:
            better = False
            for number, row in enumerate(rows):
                far = self.far_ends(rows, number)
                for place in range(len(row) - 1):
                    one, other = row[place : place + 2]
                    if self.edges.get(one, 0) != self.edges.get(other, 0):
                        continue
                    if _crossed(far, other, one) < _crossed(far, one, other):
                        row[place : place + 2] = other, one
                        better = True
        return rows

    def far_ends(self, rows: Rows, row: int) -> Far:
        """Say of everything in a row where its hops come from, and where they go."""
        at = _positions(rows, self.ports)
        above: dict[str, list[tuple[float, int]]] = {}
        below: dict[str, list[tuple[float, int]]] = {}
        for hop in self.hops[row - 1] if row else ():
            above.setdefault(hop.target.box, []).append((at(hop.source, row - 1), hop.net))
        for hop in self.hops[row]:
            below.setdefault(hop.source.box, []).append((at(hop.target, row + 1), hop.net))
        return above, below


def _crossed(far: Far, left: str, right: str) -> int:
    """Count the crossings of the hops of two neighbours."""
    return sum(
        one > other and net != another
        for side in far
        for one, net in side.get(left, ())
        for other, another in side.get(right, ())
    )
