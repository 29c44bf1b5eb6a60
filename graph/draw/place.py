"""Where along its row everything stands: as few and short sideways runs of wires as can be.

That is a linear programme, solved exactly: its dual is a flow of least cost, whose potentials are
the places (Gansner et al., "A technique for drawing directed graphs", 1993, section 4.2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .layers import Hop, is_bend
from .scene import End

LEFT, RIGHT = "<", ">"
"""The borders of the frame, which hold everything between them."""

BOX_GAP, BEND_GAP = 26, 14
STRAIGHT = {0: 2, 1: 4, 2: 10}
"""How much a hop should be straight, by how many of its ends are bends."""
NARROW = 3
"""How much a frame should be narrow."""


@dataclass
class _Programme:
    """Minimise the sum of cost · (x[v] - x[u]) where x[v] - x[u] is at least a length."""

    length: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    cost: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])

    def keep(self, left: str, right: str, length: int, cost: int = 0) -> None:
        pair = (left, right)
        self.length[pair] = max(length, self.length.get(pair, length))
        self.cost[pair] = self.cost.get(pair, 0) + cost

    def solve(self) -> dict[str, int]:
        """Find the places; where some can slide freely, take the middle."""
        import networkx as nx

        flow_graph: nx.DiGraph[str] = nx.DiGraph()
        for (left, right), length in self.length.items():
            cost = self.cost[left, right]
            flow_graph.add_edge(left, right, weight=-length)
            for name, sign in ((left, -1), (right, 1)):
                node = flow_graph.nodes[name]
                node["demand"] = node.get("demand", 0) + sign * cost
        flow: dict[str, dict[str, int]] = nx.network_simplex(flow_graph)[1]
        tight = {(u, v) for (u, v) in self.length if flow[u][v] > 0}
        least = self.longest({LEFT: 0}, tight)
        most = self.longest({RIGHT: -least[RIGHT]}, tight, backwards=True)
        return {name: (least[name] - most[name]) // 2 for name in least}

    def longest(
        self, start: Mapping[str, int], tight: set[tuple[str, str]], *, backwards: bool = False
    ) -> dict[str, int]:
        """Push everything as far to one side as lengths and tight pairs allow (Bellman-Ford)."""
        pushes = [(u, v, length) for (u, v), length in self.length.items()]
        pushes += [(v, u, -self.length[u, v]) for u, v in self.length if (u, v) in tight]
        if backwards:
            pushes = [(v, u, length) for u, v, length in pushes]
        places = dict(start)
        moved = True
        while moved:
            moved = False
            for u, v, length in pushes:
                if u in places and places[u] + length > places.get(v, places[u] + length - 1):
                    places[v] = places[u] + length
                    moved = True
        return places


def place(
    rows: Sequence[Sequence[str]],
    widths: Mapping[str, int],
    ports: Mapping[tuple[End, bool], float],
    hops: Sequence[Hop],
    margins: tuple[int, int],
) -> tuple[dict[str, float], float]:
    """Give the left edge of everything in the rows, and the width of the frame.

    `ports` says how far from that edge a port is, on the upper side (True) or the lower one.
    """
    programme = _Programme()
    programme.keep(LEFT, RIGHT, sum(margins), NARROW)
    for row in rows:
        before, reach = LEFT, margins[0]
        for name in row:
            gap = 0
            if before != LEFT:
                small = is_bend(name) or is_bend(before) or not (widths[name] and widths[before])
                gap = BEND_GAP if small else BOX_GAP
            programme.keep(before, name, reach + gap)
            before, reach = name, widths[name]
        if before != LEFT:
            programme.keep(before, RIGHT, reach + margins[1])
    for number, hop in enumerate(hops):
        above = round(ports.get((hop.source, False), 0))
        below = round(ports.get((hop.target, True), 0))
        cost = STRAIGHT[is_bend(hop.source.box) + is_bend(hop.target.box)]
        # Both ends lie right of a point of their own, which is as far right as it can be.
        programme.keep(LEFT, f"|{number}", -100_000)
        shift = max(above, below)
        programme.keep(f"|{number}", hop.source.box, shift - above, cost)
        programme.keep(f"|{number}", hop.target.box, shift - below, cost)
    found = programme.solve()
    names = [name for row in rows for name in row]
    return {name: found[name] for name in names}, found[RIGHT]
