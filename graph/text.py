"""YAML to data that knows its line and column, with YAML's traps closed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from .errors import Finding, GraphError, Place

SIZE_LIMIT = 1_000_000
DEPTH_LIMIT = 64
COUNT_LIMIT = 100_000

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,999})")
_FLOAT = re.compile(
    r"[-+]?((0|[1-9][0-9]*)\.[0-9]*|\.[0-9]+|(0|[1-9][0-9]*)(?=[eE]))([eE][-+]?[0-9]+)?"
)
_LINE_END = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Scalar:
    """One value; `empty` where nothing at all is written, which is not the same as `null`."""

    place: Place
    value: str | int | float | bool | None
    empty: bool = False


@dataclass(frozen=True)
class Sequence:
    """A list."""

    place: Place
    items: list[Tree]


@dataclass(frozen=True)
class Mapping:
    """Entries by name, and where each name stands."""

    place: Place
    entries: dict[str, Tree]
    keys: dict[str, Place]


Tree = Scalar | Sequence | Mapping


def read(text: str, file: str) -> Tree:
    """Read one YAML document; raises GraphError at the first thing that cannot be read."""
    return _Reader(text, file).document()


def plain(tree: Tree) -> Any:
    """Drop the places: lists, dicts and values."""
    if isinstance(tree, Mapping):
        return {name: plain(entry) for name, entry in tree.entries.items()}
    if isinstance(tree, Sequence):
        return [plain(item) for item in tree.items]
    return tree.value


def find(tree: Tree, path: tuple[str | int, ...]) -> Tree:
    """Follow names and indices as far as they lead."""
    for part in path:
        if isinstance(tree, Mapping) and part in tree.entries:
            tree = tree.entries[str(part)]
        elif isinstance(tree, Sequence) and isinstance(part, int):
            tree = tree.items[part]
        else:
            break
    return tree


def key_place(tree: Tree, path: tuple[str | int, ...]) -> Place:
    """Find where the name that ends a path is written, or else what encloses it."""
    parent = find(tree, path[:-1])
    if path and isinstance(parent, Mapping) and path[-1] in parent.keys:
        return parent.keys[str(path[-1])]
    return find(tree, path).place


def scalar(text: str) -> str | int | float | bool | None:
    """Say what unquoted text means."""
    if text in ("", "~", "null"):
        return None
    if text in ("true", "false"):
        return text == "true"
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _events(text: str) -> Iterator[yaml.Event]:
    yield from yaml.parse(text, Loader=yaml.SafeLoader)  # pyright: ignore[reportUnknownMemberType]


class _Reader:
    """Builds the tree from parser events, without recursion: no depth can exhaust the stack."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.lines = _LINE_END.split(text)
        self.file = file
        self.count = 0
        self.findings: list[Finding] = []
        self.roots: list[Tree] = []
        self.open: list[tuple[Sequence | Mapping, list[str]]] = []

    def document(self) -> Tree:
        if len(self.text) > SIZE_LIMIT:
            raise self.failure(0, 0, f"the file is larger than {SIZE_LIMIT:,} characters")
        try:
            for event in _events(self.text):
                self.take(event)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            said = f"{error.problem}, {error.context}" if error.context else error.problem
            line, column = (mark.line, mark.column) if mark else (0, 0)
            raise self.failure(line, column, f"this is not YAML: {said}") from None
        except yaml.reader.ReaderError as error:
            *before, last = self.text[: error.position].split("\n")
            code = ord(self.text[error.position])
            message = f"the character {code:#06x} is not allowed in YAML"
            raise self.failure(len(before), len(last), message) from None
        if not self.roots:
            raise self.failure(0, 0, "the file is empty")
        if self.findings:
            raise GraphError(self.findings)
        return self.roots[0]

    def place(self, line: int, column: int) -> Place:
        excerpt = self.lines[line] if line < len(self.lines) else ""
        return Place(self.file, line + 1, column + 1, excerpt)

    def failure(self, line: int, column: int, message: str) -> GraphError:
        return GraphError([*self.findings, Finding(self.place(line, column), message)])

    def report(self, place: Place, message: str, help: str | None = None) -> None:
        self.findings.append(Finding(place, message, help))

    def take(self, event: yaml.Event) -> None:
        line, column = event.start_mark.line, event.start_mark.column
        if isinstance(event, yaml.DocumentStartEvent) and self.roots:
            raise self.failure(line, column, "a file holds one document")
        if isinstance(event, yaml.NodeEvent):
            self.count += 1
            if self.count > COUNT_LIMIT:
                raise self.failure(line, column, f"the file holds more than {COUNT_LIMIT:,} values")
            if len(self.open) >= DEPTH_LIMIT:
                raise self.failure(line, column, f"this is nested more than {DEPTH_LIMIT} deep")
            self.add(self.tree(event, self.place(line, column)))
        elif isinstance(event, yaml.CollectionEndEvent):
            self.open.pop()

    def tree(self, event: yaml.NodeEvent, place: Place) -> Tree:
        tag: str | None = getattr(event, "tag", None)
        if event.anchor is not None or tag is not None:
            written = self.text[event.start_mark.index :].split(None, 1)[0]
            what = "tags" if event.anchor is None else "anchors and aliases"
            help = "quote a text that starts so" if len(written) > 1 else None
            self.report(place, f"'{written}': {what} are not part of graph files", help)
        if isinstance(event, yaml.SequenceStartEvent):
            return Sequence(place, [])
        if isinstance(event, yaml.MappingStartEvent):
            return Mapping(place, {}, {})
        if not isinstance(event, yaml.ScalarEvent):
            return Scalar(place, None)
        if _SURROGATE.search(event.value):
            self.report(place, "this text holds half of a character (a lone surrogate)")
        if event.style is not None:
            return Scalar(place, event.value)
        return Scalar(place, scalar(event.value), empty=event.value == "")

    def add(self, tree: Tree) -> None:
        if not self.open:
            self.roots.append(tree)
        else:
            parent, names = self.open[-1]
            if isinstance(parent, Sequence):
                parent.items.append(tree)
            elif names:
                parent.entries[names.pop()] = tree
            else:
                names.append(self.name(tree, parent))
        if not isinstance(tree, Scalar):
            self.open.append((tree, []))

    def name(self, tree: Tree, parent: Mapping) -> str:
        value = tree.value if isinstance(tree, Scalar) else None
        if not isinstance(value, str):
            self.report(tree.place, "a name must be text", "quote it if it is meant as a name")
        elif value == "<<":
            self.report(tree.place, "'<<': merge keys are not part of graph files")
        elif value in parent.keys:
            first = parent.keys[value].line
            self.report(tree.place, f"'{value}' is given twice, first in line {first}")
        else:
            parent.keys[value] = tree.place
        return str(value)
