"""Locks: what a graph was made of, so that a run of anything else is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pydantic import BaseModel

from graph import (
    Block,
    Call,
    Finding,
    Graph,
    GraphError,
    Literal,
    Loop,
    prune,
    values_of,
)

from ..content.files import Files, readers
from ..values import names_in
from .compare import changes, wiring, written
from .record import file_facts, own_libraries, own_nodes

REVISION = "revision"
"""The parameter of loaders that takes a commit."""


class LockedFile(BaseModel):
    """A file that the call of a block reads."""

    block: str
    file: str
    sha256: str
    bytes: int
    repository: str | None = None
    commit: str | None = None


class Lock(BaseModel):
    """A graph, its nodes and all its files.

    `graph` says what stands at every port, and what inputs are if nobody gives them; `nodes` has
    the SHA-256 of nodes that do not come with run-graph, `versions` those of what these need;
    `free` names the blocks whose files hang on inputs yet to be given.
    """

    graph: dict[str, str]
    nodes: dict[str, str | None]
    versions: dict[str, str]
    files: list[LockedFile]
    free: list[str]

    @property
    def commits(self) -> dict[str, str]:
        """The commits of the repositories that blocks read, by the names of the blocks."""
        return {fact.block: fact.commit for fact in self.files if fact.commit}


def lock_of(graph: Graph, inputs: Mapping[str, Any]) -> Lock:
    """Find out what a graph is made of, and which files it would read."""
    files = Files()
    found = {call.name: files.sources(call, inputs) for call in readers(prune(graph).blocks)}
    facts = file_facts({name: sources for name, sources in found.items() if sources})
    return Lock(
        graph=_lines(graph),
        nodes=own_nodes(graph.blocks),
        versions=own_libraries(graph.blocks),
        files=[LockedFile.model_validate(fact) for fact in facts],
        free=sorted(name for name, sources in found.items() if sources is None),
    )


def pinned(graph: Graph, commits: Mapping[str, str]) -> Graph:
    """Let the calls of these names read from their repositories what these commits have."""

    def pin(call: Call) -> Call:
        if call.name not in commits or REVISION not in call.node.parameters:
            return call
        return replace(call, arguments={**call.arguments, REVISION: Literal(commits[call.name])})

    return replace(graph, blocks=tuple(_changed(block, pin) for block in graph.blocks))


def refuse_others(graph: Graph, inputs: Mapping[str, Any], lock: Lock) -> None:
    """Raise GraphError with all that a graph is made of, or would read, and a lock has otherwise.

    `graph` is as it was written, not yet `pinned`.
    """
    now = lock_of(pinned(graph, lock.commits), inputs)
    known = {(fact.block, fact.file): fact.sha256 for fact in lock.files}
    findings = [
        Finding(None, f"{what} since it was locked: {line}")
        for what, then, new in (
            ("the graph was edited", lock.graph, _lines(graph)),
            ("the code of a node was changed", lock.nodes, now.nodes),
            ("a library was changed", lock.versions, now.versions),
        )
        for line in changes(then, new)
    ]
    findings += [
        Finding(None, f"'{name}' reads what only the run can say, which the lock forbids")
        for name in now.free
        if name not in lock.free
    ]
    for fact in now.files:
        wanted = known.get((fact.block, fact.file))
        if wanted == fact.sha256 or fact.block in lock.free:
            continue
        found = f"'{fact.block}' reads {fact.file} of SHA-256 {fact.sha256}"
        rule = f"the lock has {wanted}" if wanted else "the lock has no such file"
        findings.append(Finding(None, f"{found}, and {rule}"))
    if findings:
        raise GraphError(findings)


def deciding_inputs(graph: Graph) -> list[str]:
    """Name the inputs on which it hangs which files a graph reads."""
    names = names_in(value for call in readers(graph.blocks) for value in values_of(call))
    return [name for name in graph.inputs if name in names]


def _lines(graph: Graph) -> dict[str, str]:
    """Write a graph down as what stands at every port, and what its inputs are by default."""
    defaults = {
        f"input {name}": "must be given" if entry.required else written(Literal(entry.default))
        for name, entry in graph.inputs.items()
    }
    return defaults | wiring(graph)


def _changed(block: Block, change: Callable[[Call], Call]) -> Block:
    if isinstance(block, Loop):
        return replace(block, body=tuple(_changed(inner, change) for inner in block.body))
    return change(block)
