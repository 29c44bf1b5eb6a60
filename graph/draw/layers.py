"""Which row everything of a frame stands in, and the hops of its wires from row to row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from .scene import End, Wire


@dataclass(frozen=True)
class Item:
    """What stands in rows: its width, and over how many rows it reaches."""

    name: str
    width: int
    span: int = 1


@dataclass(frozen=True)
class Hop:
    """A part of a net, the wires of one source, between a row and the next."""

    net: int
    row: int
    source: End
    target: End


@dataclass(frozen=True)
class Layers:
    """Row by row what stands there: items, and bends where nets pass.

    `extent` gives the first and last row of each; `paths` the stations of every wire.
    """

    rows: list[list[str]]
    extent: dict[str, tuple[int, int]]
    hops: list[Hop]
    paths: list[tuple[End, ...]]

    @property
    def tall(self) -> list[str]:
        """What reaches over more than one row."""
        return [name for name, (first, last) in self.extent.items() if last > first]


def layer(
    entries: Sequence[Item],
    items: Sequence[Item],
    exits: Sequence[Item],
    wires: Sequence[Wire],
    widest: int,
    *,
    open: bool,
) -> Layers:
    """Put items into rows between the entries and the exits, and cut the wires at every row.

    Where the frame is `open`, without a border, exits may stand in the last row of the items.
    """
    first = _rows(items, wires, widest)
    last = max([row + item.span for item in items for row in [first[item.name]]], default=1)
    ends = {item.name for item in items if first[item.name] + item.span == last}
    names = {item.name for item in exits}
    if open and items and not any(w.source.box in ends and w.target.box in names for w in wires):
        last -= 1
    extent = {item.name: (0, 0) for item in entries}
    extent |= {item.name: (first[item.name], first[item.name] + item.span - 1) for item in items}
    extent |= {item.name: (last, last) for item in exits}
    rows: list[list[str]] = [[] for _ in range(last + 1)]
    for name, (top, bottom) in extent.items():
        for row in range(top, bottom + 1):
            rows[row].append(name)
    hops, paths, bends = _cut(wires, extent)
    for name, row in bends.items():
        rows[row].append(name)
        extent[name] = (row, row)
    return Layers(rows, extent, hops, paths)


def _rows(items: Sequence[Item], wires: Sequence[Wire], widest: int) -> dict[str, int]:
    """Find the first row of each item: as far down as what needs it and the width allow."""
    import networkx as nx

    order = {item.name: index for index, item in enumerate(items)}
    by_name = {item.name: item for item in items}
    needs: nx.DiGraph[str] = nx.DiGraph()
    needs.add_nodes_from(order)
    for wire in wires:
        if wire.source.box in order and wire.target.box in order:
            needs.add_edge(wire.target.box, wire.source.box)
    up: dict[str, int] = {}  # rows below an item, counted from the last row
    taken: dict[int, int] = {}
    backwards = {name: -place for name, place in order.items()}
    later_first = nx.lexicographical_topological_sort(needs, key=backwards.__getitem__)
    for name in list(later_first):
        item = by_name[name]
        users = list(needs.predecessors(name))
        row = max((up[user] + by_name[user].span for user in users), default=0)
        while any(
            taken.get(level, 0) and taken[level] + item.width > widest
            for level in range(row, row + item.span)
        ):
            row += 1
        for level in range(row, row + item.span):
            taken[level] = taken.get(level, 0) + item.width + 24
        up[name] = row
    height = max((up[name] + by_name[name].span for name in up), default=0)
    return {name: height - row - by_name[name].span + 1 for name, row in up.items()}


def _cut(
    wires: Sequence[Wire], extent: Mapping[str, tuple[int, int]]
) -> tuple[list[Hop], list[tuple[End, ...]], dict[str, int]]:
    """Lead each net down row by row, with a bend of its own in every row that it passes."""
    nets: dict[End, int] = {}
    bends: dict[str, int] = {}
    hops: dict[Hop, None] = {}
    paths: list[tuple[End, ...]] = []
    for wire in wires:
        net = nets.setdefault(wire.source, len(nets))
        first, last = extent[wire.source.box][1], extent[wire.target.box][0]
        stations = [wire.source]
        for row in range(first + 1, last):
            name = f"~{net}.{row}"
            bends[name] = row
            stations.append(End(name, ""))
        stations.append(wire.target)
        for row, (source, target) in enumerate(pairwise(stations), first):
            hops[Hop(net, row, source, target)] = None
        paths.append(tuple(stations))
    return list(hops), paths, bends


def is_bend(name: str) -> bool:
    """Tell a place where a net passes a row from what stands in it."""
    return name.startswith("~")
