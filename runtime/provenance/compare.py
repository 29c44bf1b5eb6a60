"""Records of how something was made: read again, and compared by meaning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from graph import Block, Call, Finding, Graph, GraphError, GraphText, ListOf, Literal, Value

from ..memory.rungs import Saving
from .record import FORMAT


class FileFact(BaseModel):
    """A file that was read, by the call of a block."""

    block: str
    file: str
    sha256: str
    repository: str | None = None
    commit: str | None = None


class Recorded(BaseModel):
    """A record as it is read again: from a file of which nobody knows who wrote it."""

    model_config = ConfigDict(populate_by_name=True)

    format: int
    graph: Annotated[list[GraphText], Field(max_length=1000)] = []
    inputs: dict[str, Any] = {}
    shortened: list[str] = []
    files: list[FileFact] = []
    nodes: dict[str, str | None] = {}
    passes: list[str] = []
    savings: list[Saving] = []
    batch: int = 1
    machine: dict[str, Any] = {}
    versions: dict[str, str] = {}
    block: str = ""
    time: int = 0
    picture: int | None = None
    pixels: str = ""


def parse_record(data: Mapping[str, Any], name: str) -> Recorded:
    """Read a record; raises GraphError where it is none, or of a version that is not known yet."""
    try:
        found = Recorded.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        message = f"the record in {name} is damaged: {where}: {first['msg']}"
        raise GraphError([Finding(None, message)]) from error
    if found.format > FORMAT:
        message = f"the record in {name} was written by a newer run-graph"
        raise GraphError([Finding(None, message, "upgrade run-graph")])
    if not found.graph:
        help = "if it is a JPEG, the graph was too long for it: save such pictures as PNG"
        raise GraphError([Finding(None, f"the record in {name} holds no graph", help)])
    return found


def drift(then: Recorded, now: Recorded) -> list[str]:
    """Say, a line each, which facts beside the graph and its inputs are others now."""
    files = [
        {f"{fact.block}: {fact.file}": f"SHA-256 {fact.sha256}" for fact in record.files}
        for record in (then, now)
    ]
    nodes = [
        {f"node {name}": code for name, code in record.nodes.items()} for record in (then, now)
    ]
    return [
        *changes(*files),
        *changes(*nodes),
        *changes({"passes": then.passes}, {"passes": now.passes}),
        *changes({"runs in its batch": then.batch}, {"runs in its batch": now.batch}),
        *changes({"savings": then.savings}, {"savings": now.savings}),
        *changes(then.machine, now.machine),
        *changes(then.versions, now.versions),
    ]


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say, a line each, which of several named values are others."""
    lines: list[str] = []
    for name in dict.fromkeys([*then, *now]):
        if name not in now:
            lines.append(f"{name}: was {_shown(then[name])}, is gone")
        elif name not in then:
            lines.append(f"{name}: is new, {_shown(now[name])}")
        elif then[name] != now[name]:
            lines.append(f"{name}: was {_shown(then[name])}, is {_shown(now[name])}")
    return lines


def wiring(graph: Graph) -> dict[str, str]:
    """Write what flows into every block of a graph, one name for each port."""
    return dict(_wiring(graph.blocks)) | {
        f"output {name}": written(value) for name, value in graph.outputs.items()
    }


def _wiring(blocks: tuple[Block, ...]) -> Iterator[tuple[str, str]]:
    for block in blocks:
        if isinstance(block, Call):
            yield block.name, block.node.name
            ports = {**block.arguments, "when": block.when, "else": block.otherwise}
        else:
            yield block.name, "a loop"
            yield from _wiring(block.body)
            ports: dict[str, Value | None] = {**block.sequences, "until": block.until}
            for key, carry in block.carry.items():
                ports |= {f"{key}, first": carry.start, f"{key}, then": carry.then}
            ports |= {f"{key}, collected": value for key, value in block.collect.items()}
        for name, value in ports.items():
            if value is not None:
                yield f"{block.name}.{name}", written(value)


def written(value: Value) -> str:
    """Write a value as a graph file does."""
    match value:
        case Literal():
            return repr(value.value)
        case ListOf():
            return f"[{', '.join(written(item) for item in value.items)}]"
        case _:
            return "$" + ".".join((value.name, *value.fields))


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        pairs = cast("dict[str, Any]", value).items()
        return ", ".join(f"{name} {item}" for name, item in pairs)
    return str(value)
