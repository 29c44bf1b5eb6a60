"""Files around a graph: those that it is made of, and those that its effects write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .blocks import Block, Call, Graph, Reference
from .errors import Finding, GraphError
from .kinds import Written


def graph_files(graph: Graph) -> set[Path]:
    """List the files of the graph and of its subgraphs; a graph that was given as text has none."""
    places = {call.place.file for call in _calls(graph.blocks)}
    return {path for path in map(Path, places) if path.is_file()}


def written_inputs(graph: Graph) -> list[str]:
    """Name the inputs that say where the effects of a graph write their files.

    Raises GraphError for a graph that writes nothing, and for each file that is no input.
    """
    names: list[str] = []
    findings: list[Finding] = []
    for call in _calls(graph.blocks):
        for port, parameter in call.node.parameters.items():
            if not call.node.effect or not _is_written(parameter.annotation):
                continue
            value = call.arguments.get(port)
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


def _calls(blocks: tuple[Block, ...]) -> Iterator[Call]:
    for block in blocks:
        if isinstance(block, Call):
            yield block
        else:
            yield from _calls(block.body)


def _is_written(annotation: Any) -> bool:
    return any(isinstance(extra, Written) for extra in getattr(annotation, "__metadata__", ()))
