"""What a name means where it is written."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from .blocks import ListOf, Literal, Reference, Value
from .errors import Finding, Place, did_you_mean, listed
from .text import Tree, find, key_place

Path = tuple[str | int, ...]

UNKNOWN = Reference("")
"""Stands for a value that was already found wrong: whatever is done with it, no more is said."""

_REFERENCE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)((?:\.[A-Za-z_][A-Za-z0-9_]*)*)")


@dataclass(frozen=True)
class Symbol:
    """What a name stands for: a value, or the fields of a loop or a subgraph, each a value."""

    what: str
    place: Place
    value: Value = UNKNOWN
    fields: dict[str, Value] | None = None
    inside: frozenset[str] = frozenset()


@dataclass
class Scope:
    """The names of one file, or of the inside of one loop, and what was found wrong with them.

    `chain` lists the files from the outermost graph to this one, which `user` uses. `astray`
    gathers references to fields that a loop does not have: what helps, its types have to say.
    """

    tree: Tree
    prefix: str
    findings: list[Finding]
    parent: Scope | None = None
    names: dict[str, Symbol] = field(default_factory=dict[str, Symbol])
    used: set[str] = field(default_factory=set[str])
    chain: tuple[pathlib.Path, ...] = ()
    user: Place | None = None
    astray: list[Reference] = field(default_factory=list[Reference])

    def inside(self, prefix: str) -> Scope:
        """Open the scope of a loop's body, which sees what stands outside it."""
        return replace(self, prefix=prefix, parent=self, names={})

    def report(self, place: Place, message: str, help: str | None = None) -> None:
        """Note what is wrong."""
        self.findings.append(Finding(place, message, help))

    def find(self, name: str) -> Symbol | None:
        """Look a name up here, then outside."""
        scope: Scope | None = self
        while scope:
            if name in scope.names:
                return scope.names[name]
            scope = scope.parent
        return None

    def has(self, text: str) -> bool:
        """Tell whether a text, with a dollar sign before it, would refer to something here."""
        name, *fields = text.split(".")
        symbol = self.find(name)
        return symbol is not None and (not fields or fields[0] in (symbol.fields or ()))

    def declare(self, name: str, symbol: Symbol) -> None:
        """Add a name; one that would hide another is an error."""
        hidden = self.find(name)
        if hidden:
            message = f"'{name}' would hide the {hidden.what} of line {hidden.place.line}"
            self.report(symbol.place, message, "give it another name")
            symbol = Symbol(symbol.what, symbol.place)
        self.names[name] = symbol

    def visible(self) -> dict[str, Symbol]:
        """Every name that can be used here."""
        outer = self.parent.visible() if self.parent else {}
        return {**outer, **self.names}

    def values(self, data: Mapping[str, Any], path: Path) -> dict[str, Value]:
        """Read the entries of a mapping that stands at a path."""
        return {name: self.value(entry, (*path, name)) for name, entry in data.items()}

    def value(self, data: Any, path: Path) -> Value:
        """Read what stands at a path: `$name` refers, `$$` is a dollar sign, else it is literal."""
        place = self.place(path)
        if isinstance(data, str):
            if data.startswith("$") and not data.startswith("$$"):
                return self._reference(data, place)
            return Literal(data.replace("$", "", 1) if data.startswith("$$") else data, place)
        if isinstance(data, list):
            entries = enumerate(cast("list[Any]", data))
            items = [self.value(entry, (*path, index)) for index, entry in entries]
            if any(not isinstance(item, Literal) for item in items):
                return ListOf(tuple(items), place)
            return Literal([item.value for item in items if isinstance(item, Literal)], place)
        if isinstance(data, dict):
            return self._mapping(self.values(cast("dict[str, Any]", data), path), place)
        return Literal(data, place)

    def _mapping(self, entries: Mapping[str, Value], place: Place) -> Value:
        plain: dict[str, Any] = {}
        for name, entry in entries.items():
            if not isinstance(entry, Literal):
                if entry is not UNKNOWN:
                    self.report(entry.place or place, f"'{name}': a mapping holds literals only")
                return UNKNOWN
            plain[name] = entry.value
        return Literal(plain, place)

    def _reference(self, text: str, place: Place) -> Value:
        match = _REFERENCE.fullmatch(text)
        if not match:
            help = "there are no expressions: compute it in a node; write $$ for a dollar sign"
            self.report(place, f"'{text}' is not a reference", help)
            return UNKNOWN
        name, fields = match[1], tuple(match[2].split(".")[1:])
        symbol = self.find(name)
        if symbol is None:
            self._missing(name, place)
            return UNKNOWN
        self.used.add(name)
        if symbol.fields is None:
            return self._with_fields(symbol.value, fields, name, place)
        if fields and fields[0] in symbol.fields:
            value = symbol.fields[fields[0]]
            return self._with_fields(value, fields[1:], f"{name}.{fields[0]}", place)
        if fields and (fields[0] in symbol.inside or symbol.what == "loop"):
            self._no_field(name, symbol, fields, place)
            return UNKNOWN
        if len(symbol.fields) != 1:
            help = f"write {listed((f'${name}.{field}' for field in symbol.fields), 'or')}"
            message = f"'{name}' is a {symbol.what} with {len(symbol.fields)} values"
            self.report(place, message, help if symbol.fields else None)
            return UNKNOWN
        (value,) = symbol.fields.values()
        return self._with_fields(value, fields, name, place)

    def _with_fields(self, value: Value, fields: tuple[str, ...], name: str, place: Place) -> Value:
        if isinstance(value, Reference):
            # What a subgraph was given stands where the giver wrote it.
            return replace(value, fields=value.fields + fields, place=value.place or place)
        if fields:
            self.report(place, f"'{name}' is given as a literal, which has no field '{fields[0]}'")
            return UNKNOWN
        return value

    def _missing(self, name: str, place: Place) -> None:
        for loop, symbol in self.visible().items():
            if name in symbol.inside:
                self._no_field(loop, symbol, (name,), place)
                return
        visible = self.visible()
        help = did_you_mean(name, visible) or f"the names here are {listed(visible)}"
        self.report(place, f"there is no '{name}' here", help)

    def _no_field(self, loop: str, symbol: Symbol, path: tuple[str, ...], place: Place) -> None:
        name, fields = path[0], symbol.fields or {}
        if name in fields:
            help = f"write ${loop}.{name}"
            self.report(place, f"'{name}' is inside the loop '{loop}'", help)
        elif name in symbol.inside:
            help = f"'collect' it or 'carry' it, and it is ${loop}.{name}"
            self.report(place, f"'{name}' is inside the loop '{loop}'", help)
        else:
            self.astray.append(replace(cast("Reference", symbol.value), fields=path, place=place))

    def place(self, path: Path) -> Place:
        """Find where what a path leads to is written."""
        return replace(find(self.tree, path).place, used_from=self.user)

    def key(self, path: Path) -> Place:
        """Find where the name at the end of a path is written."""
        return replace(key_place(self.tree, path), used_from=self.user)
