"""From a parsed file to a checked graph, or to everything that is wrong with it."""

from __future__ import annotations

from pathlib import Path

from .aliases import Aliases
from .blocks import Graph, GraphText, Input
from .edges import Edges, type_blocks, type_of
from .errors import Finding, GraphError
from .files import SUFFIX, Library, OnDisk, leading_comment
from .node import Registry
from .opens import Open, fit
from .resolve import InputEntry, Resolver, resolve
from .spec import Parsed


def check(
    parsed: Parsed,
    name: str,
    path: Path | None,
    text: str,
    registry: Registry,
    library: Library | None = None,
) -> Graph:
    """Resolve the names and type the edges of a graph; raises GraphError with every finding."""
    findings: list[Finding] = []
    own = GraphText(path.name if path else f"{name}{SUFFIX}", text)
    resolver = Resolver(
        registry.types, findings, Aliases(findings), library or OnDisk(), files={path: own}
    )
    resolved = resolve(parsed, path, resolver)
    edges = Edges(registry.types, findings)
    opens = {entry.name: Open(f"input '{entry.name}'", entry.place) for entry in resolved.inputs}
    edges.types.update(opens)
    blocks = type_blocks(resolved.blocks, edges)
    for value in [*resolved.outputs.values(), *resolver.astray]:
        type_of(value, edges)
    inputs = {entry.name: _input(entry, opens[entry.name], findings) for entry in resolved.inputs}
    if findings:
        raise GraphError(findings)
    files = tuple(resolver.files.values())
    return Graph(name, path, leading_comment(text), inputs, blocks, resolved.outputs, files)


def _input(entry: InputEntry, open: Open, findings: list[Finding]) -> Input:
    annotation = open.settle(findings)
    default = entry.default
    if default:
        default = fit(default, annotation, f"input '{entry.name}'", findings)
    return Input(
        name=entry.name,
        annotation=annotation,
        required=default is None,
        default=default.value if default else None,
        help=next((demand.help for demand in open.demands if demand.help), ""),
        place=entry.place,
    )
