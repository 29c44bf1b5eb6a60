"""The file format as pydantic models: what a graph file may say, whatever its names mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    Tag,
    ValidationError,
)
from pydantic_core import ErrorDetails

from .errors import Finding, did_you_mean, listed, nearest
from .literals import describe_value
from .text import Tree, key_place, plain

Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Section = BeforeValidator(lambda value: {} if value is None else value)
"""A heading with nothing under it, perhaps because all is commented out, is an empty mapping."""

Path = tuple[str | int, ...]


class CallBlock(BaseModel):
    """One use of a node; every further key is an argument."""

    model_config = ConfigDict(frozen=True, extra="allow")

    node: str = Field(description="the node type to call")
    when: JsonValue = Field(None, description="run only where this flag holds")
    otherwise: JsonValue = Field(None, alias="else", description="the value where it does not")

    @property
    def arguments(self) -> dict[str, JsonValue]:
        """What flows into the node's parameters."""
        return self.model_extra or {}


class SubgraphBlock(BaseModel):
    """Another graph in the place of one block; every further key is one of its inputs."""

    model_config = ConfigDict(frozen=True, extra="allow")

    graph: str = Field(description="a graph file beside this one, or the name of a shipped graph")

    @property
    def arguments(self) -> dict[str, JsonValue]:
        """What flows into the graph's inputs."""
        return self.model_extra or {}


class CarryEntry(BaseModel):
    """A value handed from one step to the next."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: JsonValue = Field(alias="from", description="the value at the first step")
    then: JsonValue = Field(description="the value for the next step")


class LoopBlock(BaseModel):
    """Blocks that run once for every item of one or several sequences."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sequences: dict[Name, JsonValue] = Field(
        alias="for", min_length=1, description="what to walk over together, item by item"
    )
    carry: Annotated[dict[Name, CarryEntry], Section] = Field(
        {}, description="what is handed from one step to the next"
    )
    nodes: Annotated[dict[Name, Block], Section] = Field(description="the blocks of every step")
    collect: Annotated[dict[Name, JsonValue], Section] = Field(
        {}, description="values to keep of every step"
    )
    until: JsonValue = Field(None, description="stop after the step in which this holds")


_TAGS = {"node": "<call>", "graph": "<subgraph>", "for": "<loop>", "nodes": "<loop>"}


def _block_kind(value: Any) -> str | None:
    """Tell a block by its keys; no name has the form of a tag, so tags can be told from names."""
    if not isinstance(value, dict):
        return None
    tags = {tag for key, tag in _TAGS.items() if key in value}
    return tags.pop() if len(tags) == 1 else None


Block = Annotated[
    Annotated[CallBlock, Tag("<call>")]
    | Annotated[SubgraphBlock, Tag("<subgraph>")]
    | Annotated[LoopBlock, Tag("<loop>")],
    Discriminator(_block_kind),
]


class GraphFile(BaseModel):
    """A graph file: what a run may set, what happens, and what comes out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: Annotated[dict[Name, JsonValue], Section] = Field(
        {}, description="what a run may set: a default, or nothing where it must be given"
    )
    nodes: Annotated[dict[Name, Block], Section] = Field(description="the blocks, in any order")
    outputs: Annotated[dict[Name, JsonValue], Section] = Field(
        {}, description="what the graph returns"
    )


@dataclass(frozen=True)
class Parsed:
    """A file's content without the entries that are broken, and where everything stands.

    Where its inputs or its blocks are missing as a whole, it is unreadable: no name in it can be
    looked up.
    """

    tree: Tree
    content: GraphFile
    broken: frozenset[Path]
    findings: tuple[Finding, ...]
    unreadable: bool = False


def parse(tree: Tree) -> Parsed:
    """Check the form of a graph file and go on without the entries that are broken."""
    data = plain(tree)
    try:
        return Parsed(tree, GraphFile.model_validate(data), frozenset(), ())
    except ValidationError as error:
        details = error.errors(include_url=False)
    misspelt = {_meant(detail) for detail in details if detail["type"] == "extra_forbidden"}
    # What was misspelt is not missing as well.
    told = [detail for detail in details if _path(detail) not in misspelt]
    findings = tuple(_finding(tree, detail) for detail in told)
    broken = frozenset(_path(detail)[:2] for detail in details)
    sections = cast("dict[str, Any]", data) if isinstance(data, dict) else {}
    kept = {name: _kept(name, section, broken) for name, section in sections.items()}
    whole = {name: section for name, section in kept.items() if (name,) not in broken}
    content = GraphFile.model_validate({"nodes": {}, **whole})
    unreadable = not {("inputs",), ("nodes",)}.isdisjoint(broken | misspelt)
    return Parsed(tree, content, broken, findings, unreadable)


def _kept(name: str, section: Any, broken: frozenset[Path]) -> Any:
    if not isinstance(section, dict):
        return section
    entries = cast("dict[str, Any]", section)
    return {key: entry for key, entry in entries.items() if (name, key) not in broken}


def _path(detail: ErrorDetails) -> Path:
    return tuple(part for part in detail["loc"] if not str(part).startswith(("<", "[")))


def _meant(detail: ErrorDetails) -> Path:
    *owners, last = _path(detail)
    return (*owners, nearest(str(last), _siblings(_path(detail))) or "")


def _finding(tree: Tree, detail: ErrorDetails) -> Finding:
    path = _path(detail)
    *owners, last = path or ("a graph file",)
    name = f"'{last}'" if path else last
    place, help = key_place(tree, path), None
    match detail["type"]:
        case "missing":
            owner = f"'{owners[-1]}'" if owners else "a graph file"
            place = key_place(tree, path[:-1])
            message = f"{owner} needs '{last}:'"
        case "extra_forbidden":
            valid = _siblings(path)
            message = f"there is no key {name} here"
            help = did_you_mean(str(last), valid) or f"the keys are {listed(valid)}"
        case "union_tag_not_found":
            reason, help = _no_block(detail["input"])
            message = f"{name} is no block: {reason}"
        case "string_pattern_mismatch":
            message = f"{name} is no name: letters, digits and '_' only, and no digit first"
        case "too_short":
            message = f"{name} needs at least one entry"
        case kind:
            wanted = "text" if kind == "string_type" else "a mapping of names"
            message = f"{name} must be {wanted}, found {describe_value(detail['input'])}"
    return Finding(place, message, help)


def _no_block(content: Any) -> tuple[str, str | None]:
    """Say why the kind of a block cannot be told, and what may help."""
    given = [key for key in _TAGS if isinstance(content, dict) and key in content]
    found = {_TAGS[key]: f"'{key}:'" for key in reversed(given)}
    if not found:
        return "it needs 'node:', 'graph:' or 'for:'", None
    return f"it has {listed(reversed(found.values()))}", "it is a call, a subgraph or a loop"


def _siblings(path: Path) -> list[str]:
    """List the keys that are valid beside the one that ends the path."""
    model: type[BaseModel] = GraphFile
    if len(path) > 1:
        model = CarryEntry if path[-3] == "carry" else LoopBlock
    return [field.alias or name for name, field in model.model_fields.items()]
