"""Makes what was saved once more, without saving it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from graph import (
    Block,
    Call,
    Finding,
    Graph,
    GraphError,
    Literal,
    Loop,
    base_of,
    calls_of,
    load_bundle,
    node_types,
    values_of,
)

from ..plan.known import fill_in
from ..session import Session
from ..values import names_in
from .compare import FileFact, Recorded
from .lock import REVISION, pinned


@dataclass(frozen=True)
class Remade:
    """What a saver was called with, at the time that a record speaks of."""

    call: Call
    arguments: Mapping[str, Any]


class NotRemade(Exception):
    """The saver that wrote a record is not reached any more."""


def recorded_graph(record: Recorded) -> Graph:
    """Load the graph of a record; raises GraphError where it is wrong or a node is not known."""
    unknown = [name for name in record.nodes if name not in node_types()]
    if unknown:
        message = f"it was made with nodes that are not known here: {', '.join(unknown)}"
        raise GraphError([Finding(None, message, "give the file that defines them: --nodes FILE")])
    return load_bundle(record.graph)


def recorded_inputs(record: Recorded, graph: Graph, given: Mapping[str, Any]) -> dict[str, Any]:
    """Give the inputs of a record, and those `given` in place of some.

    Raises GraphError where a file is needed of which only the name was recorded.
    """
    needed = _needed(graph.blocks)
    findings = [
        Finding(
            None,
            f"input '{name}' was not recorded whole, only '{record.inputs[name]}'",
            f"give it again: {name}=…",
        )
        for name in record.shortened
        if name in needed and name not in given and not Path(str(record.inputs[name])).exists()
    ]
    if findings:
        raise GraphError(findings)
    return {**record.inputs, **given}


def remake(record: Recorded, graph: Graph, inputs: Mapping[str, Any], session: Session) -> Remade:
    """Run a graph up to the saver that wrote a record; nothing is saved.

    Repositories are read at the commits that they then had, whatever has become of their branches.
    Raises NotRemade where that saver is not called.
    """
    caught: list[Remade] = []

    def catching(call: Call) -> Call:
        def catch(**arguments: Any) -> str:
            caught.append(Remade(call, arguments))
            return "not saved"

        ports = {
            name: replace(port, annotation=base_of(port.annotation))  # it writes no file
            for name, port in call.node.parameters.items()
        }
        return replace(call, node=replace(call.node, function=catch, parameters=ports))

    graph = _at_commits(graph, record.files, inputs)
    blocks = _without_other_effects(graph.blocks, record.block, catching)
    session(replace(graph, blocks=blocks, outputs={}), **inputs)
    if len(caught) <= record.time:
        raise NotRemade(f"'{record.block}' was not called {record.time + 1} times")
    return caught[record.time]


def _at_commits(graph: Graph, files: Iterable[FileFact], inputs: Mapping[str, Any]) -> Graph:
    """Pin the calls that name a repository of these files and no revision of it."""
    commits = {fact.repository: fact.commit for fact in files if fact.repository and fact.commit}
    pins: dict[str, str] = {}
    for call in calls_of(fill_in(graph, inputs).blocks):
        for value in () if REVISION in call.arguments else call.arguments.values():
            if isinstance(value, Literal) and isinstance(value.value, str):
                pins |= {call.name: commits[value.value]} if value.value in commits else {}
    return pinned(graph, pins)


def _without_other_effects(
    blocks: tuple[Block, ...], wanted: str, catching: Any
) -> tuple[Block, ...]:
    kept: list[Block] = []
    for block in blocks:
        if isinstance(block, Loop):
            body = _without_other_effects(block.body, wanted, catching)
            kept.append(replace(block, body=body))
        elif not block.node.effect:
            kept.append(block)
        elif block.name == wanted:
            kept.append(catching(block))
    return tuple(kept)


def _needed(blocks: tuple[Block, ...]) -> set[str]:
    """Name what flows into blocks that are no savers."""
    names: set[str] = set()
    for block in blocks:
        if isinstance(block, Loop):
            names |= _needed(block.body)
            block = replace(block, body=())
        if isinstance(block, Loop) or not block.node.effect:
            names |= names_in(values_of(block))
    return names
