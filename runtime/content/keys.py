"""Content keys: what a block's value is, known before the block runs.

A key is a hash of the node and its code, of its arguments, of the keys of what it is wired to, of
the files that it reads and of what the machine supplies. Two blocks with one key have one value,
whatever they are called; a loop is one value. A block has no key where something in it cannot be
told from another, and neither has what hangs on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import Any

from graph import Block, Call, Graph, ListOf, Literal, Loop, Reference, Value

from .canonical import NotCanonical, digest, encoded
from .versions import code_of, libraries_of

Key = bytes
Files = Callable[[Call, Mapping[str, Any]], bytes | None]
"""Identifies the files that a call would read with these arguments; None where it cannot say."""
NOT_IN_KEYS = ("provenance", "compiler")
"""Ambient parameters that every run has of its own, and that do not decide what is made."""


@dataclass(frozen=True)
class Recipe:
    """How the key of a block is made: of bytes that stay, and of the keys of these names."""

    name: str
    fixed: bytes
    names: tuple[str, ...]
    readers: tuple[Call, ...]


def recipes_of(plan: Graph) -> list[Recipe | None]:
    """Prepare the keys of a plan's blocks, all that is the same in every run; None = no key."""
    return [_recipe(block) for block in plan.blocks]


def keys_of(
    recipes: list[Recipe | None],
    inputs: Mapping[str, Any],
    machine: Mapping[str, Any],
    files: Files,
) -> dict[str, Key]:
    """Give the keys of the inputs and of the blocks of a plan, by name."""
    keys: dict[str, Key] = {}
    for values, mark in ((inputs, ""), (machine, "@")):
        for name, value in values.items():
            try:
                keys[mark + name] = digest(value)
            except NotCanonical:
                continue
    for recipe in recipes:
        if recipe is None:
            continue
        try:
            parts = [recipe.fixed, *map(keys.__getitem__, recipe.names)]
        except KeyError:
            continue
        for call in recipe.readers:
            parts.append(files(call, inputs) or b"")
        if all(parts):
            keys[recipe.name] = sha256(b"".join(parts)).digest()
    return keys


def _recipe(block: Block) -> Recipe | None:
    writer = _Writer()
    try:
        writer.block(block)
    except NotCanonical:
        return None
    names = tuple(writer.outside)
    return Recipe(block.name, b"".join(writer.parts), names, tuple(writer.readers))


@dataclass
class _Writer:
    """Writes a block as bytes in which no name of a block occurs, only its number."""

    parts: list[bytes] = field(default_factory=list[bytes])
    outside: dict[str, int] = field(default_factory=dict[str, int])
    inside: dict[str, int] = field(default_factory=dict[str, int])
    readers: list[Call] = field(default_factory=list[Call])

    def say(self, *words: str | int) -> None:
        self.parts.append(encoded(words))

    def block(self, block: Block) -> None:
        if isinstance(block, Loop):
            self.loop(block)
        else:
            self.call(block)

    def call(self, call: Call) -> None:
        code = code_of(call.node)
        if code is None:
            raise NotCanonical(f"the code of '{call.node.name}'")
        self.say("call", code)
        self.parts.append(encoded(libraries_of(call.node)))
        self.function(call.node.function)
        if call.node.reads:
            self.readers.append(call)
        for name, parameter in sorted(call.node.parameters.items()):
            if parameter.ambient in NOT_IN_KEYS:
                continue
            self.say(name)
            if name in call.arguments:
                self.value(call.arguments[name])
            elif parameter.ambient:
                self.reference(Reference(f"@{parameter.ambient}"))
            else:
                self.value(Literal(parameter.default))
        self.maybe(call.when)
        self.maybe(call.otherwise)

    def function(self, function: Callable[..., Any]) -> None:
        if isinstance(function, partial):
            self.function(function.func)
            for value in (*function.args, *function.keywords.items()):
                if callable(value):
                    self.function(value)
                else:
                    self.parts.append(encoded(value))
        elif not hasattr(function, "__qualname__") or getattr(function, "__closure__", None):
            raise NotCanonical(f"what {function} depends on")
        else:
            self.say(function.__module__, function.__qualname__)

    def loop(self, loop: Loop) -> None:
        self.say("loop")
        for key, value in loop.sequences.items():
            self.say(key)
            self.value(value)
        for key, carry in loop.carry.items():
            self.say("carry", key)
            self.value(carry.start)
        for key in (*loop.sequences, *loop.carry):
            self.inside[loop.variable(key)] = len(self.inside)
        for block in loop.body:
            self.block(block)
            self.inside[block.name] = len(self.inside)
        for carry in loop.carry.values():
            self.value(carry.then)
        for key, value in loop.collect.items():
            self.say("collect", key)
            self.value(value)
        self.maybe(loop.until)

    def maybe(self, value: Value | None) -> None:
        if value is None:
            self.say("none")
        else:
            self.value(value)

    def value(self, value: Value) -> None:
        match value:
            case Literal():
                self.say("literal")
                self.parts.append(encoded(value.value))
            case Reference():
                self.reference(value)
            case ListOf():
                self.say("list", len(value.items))
                for item in value.items:
                    self.value(item)

    def reference(self, value: Reference) -> None:
        if value.name in self.inside:
            self.say("inside", self.inside[value.name], *value.fields)
        else:
            number = self.outside.setdefault(value.name, len(self.outside))
            self.say("outside", number, *value.fields)
