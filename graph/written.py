"""The files that the effects of a graph write."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .blocks import Block, Call, Graph, Reference, Value
from .errors import Finding, GraphError
from .kinds import Written


def written_inputs(graph: Graph) -> list[str]:
    """Name the inputs that say where the effects of a graph write their files.

    Raises GraphError for a graph that writes nothing, and for each file that is no input.
    """
    names: list[str] = []
    findings: list[Finding] = []
    for call, port, value in written_values(graph.blocks):
        if isinstance(value, Reference) and value.name in graph.inputs:
            names.append(value.name)
        else:
            place = value.place if value is not None and value.place else call.place
            message = f"'{call.name}' always writes the same file"
            findings.append(Finding(place, message, f"make '{port}' an input of the graph"))
    if not names and not findings:
        message = f"'{graph.name}' writes no file, so many runs of it would leave nothing"
        findings.append(Finding(None, message, "add a call of save_image"))
    if findings:
        raise GraphError(findings)
    return list(dict.fromkeys(names))


def written_values(blocks: tuple[Block, ...]) -> Iterator[tuple[Call, str, Value | None]]:
    """Walk over the effects that write files: the call, the port, and what names the file."""
    for call in calls_of(blocks):
        if call.node.effect:
            for port, parameter in call.node.parameters.items():
                if _is_written(parameter.annotation):
                    yield call, port, call.arguments.get(port)


def calls_of(blocks: tuple[Block, ...]) -> Iterator[Call]:
    """Walk over every call, also inside loops."""
    for block in blocks:
        if isinstance(block, Call):
            yield block
        else:
            yield from calls_of(block.body)


def _is_written(annotation: Any) -> bool:
    return any(isinstance(extra, Written) for extra in getattr(annotation, "__metadata__", ()))
