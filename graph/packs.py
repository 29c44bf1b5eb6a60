"""Packs: node types that installed distributions bring.

A distribution names its packs as entry points of the group `run_graph.nodes`: the name is the
pack's, the value a module that registers nodes with `@node`. In a graph they are `pack.type`, so
none can stand in for a node of ours. Whoever installs a pack trusts it; a graph can only name it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import Distribution, EntryPoint, entry_points
from typing import TYPE_CHECKING

from .errors import Finding, Place, did_you_mean

if TYPE_CHECKING:
    from .node import NodeType

GROUP = "run_graph.nodes"


class NodeTypes(Mapping[str, "NodeType"]):
    """What is registered, by name; a name with a dot is looked for in the pack before the dot.

    A pack is imported when one of its names is looked up, or all packs are asked for. One that
    cannot be imported brings nothing; `problems` says why, by its name.
    """

    def __init__(self) -> None:
        self.own: dict[str, NodeType] = {}
        self.prefix = ""
        self.problems: dict[str, Finding] = {}
        self._asked: set[str] = set()

    def __getitem__(self, name: str) -> NodeType:
        pack, dot, _ = name.partition(".")
        if dot and name not in self.own:
            self._open(pack)
        return self.own[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.own)

    def __len__(self) -> int:
        return len(self.own)

    def open_all(self) -> list[Finding]:
        """Import every pack; gives what is wrong with those that cannot be imported."""
        for pack in _installed():
            self._open(pack)
        return list(self.problems.values())

    def why_not(self, name: str, place: Place) -> Finding:
        """Say why there is nothing of a name, and what may help."""
        message = f"there is no node '{name}'"
        pack, dot, _ = name.partition(".")
        if pack in self.problems:
            return Finding(place, f"{message}: {self.problems[pack].message}")
        if dot and pack not in _installed():
            near = did_you_mean(pack, _installed())
            return Finding(place, message, near or f"no pack '{pack}' is installed")
        if not self.own:
            # The same for every block, so it has no place and is said once.
            return Finding(None, "no node types are registered", "`import nodes` before you load")
        help = "if it is yours, give the file that defines it: --nodes FILE"
        return Finding(place, message, did_you_mean(name, self.own) or help)

    def _open(self, pack: str) -> None:
        found = _installed().get(pack)
        if found is None or pack in self._asked:
            return
        self._asked.add(pack)
        try:
            with self._under(f"{pack}."):
                found.load()
        except Exception as error:
            source = f"{found.dist.name} {found.dist.version}" if found.dist else found.value
            message = f"the pack '{pack}' ({source}) cannot be imported"
            self.problems[pack] = Finding(None, f"{message}: {type(error).__name__}: {error}")

    @contextmanager
    def _under(self, prefix: str) -> Generator[None]:
        """Put what is registered meanwhile under a prefix; nothing of it if something fails."""
        before, self.prefix = dict(self.own), prefix
        try:
            yield
        except BaseException:
            self.own = before
            raise
        finally:
            self.prefix = ""


def pack_of(node: str) -> Distribution | None:
    """Find the installed distribution that a node type named `pack.type` comes with."""
    found = _installed().get(node.partition(".")[0]) if "." in node else None
    return found.dist if found else None


def _installed() -> dict[str, EntryPoint]:
    return {found.name: found for found in entry_points(group=GROUP)}
