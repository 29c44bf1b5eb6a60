"""The files that the calls of a graph read, found before anything runs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from hashlib import sha256
from inspect import signature
from pathlib import Path
from typing import Any

from graph import Block, Call, Literal, Reads, Reference, Source

from .canonical import NotCanonical, digest

SMALL = 2**20
"""Bytes: a file of this size is known by its content, which costs less than a doubt."""
RECENTLY = 2 * 10**9
"""Nanoseconds: what changed so lately may change again and keep its times."""


class Files:
    """Knows what calls read, and asks nobody twice as long as nothing in the folders changes."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[tuple[Source, ...], dict[Path, int]]] = {}

    def sources(self, call: Call, inputs: Mapping[str, Any]) -> tuple[Source, ...] | None:
        """Give the files that a call would read; None where only the run can say which."""
        arguments = _arguments(call, inputs)
        if call.node.reads is None or arguments is None:
            return None
        try:
            key = digest([call.node.module, call.node.name, arguments, os.getcwd()])
            if key in self._known:
                sources, folders = self._known[key]
                if all(it.is_unchanged() for it in sources) and folders == _folders(sources):
                    return sources
            sources = tuple(Source.of(path) for path in call.node.reads(**arguments))
            self._known[key] = sources, _folders(sources)
        except (NotCanonical, OSError, ValueError):  # the call itself says it better
            return None
        return sources

    def identity(self, call: Call, inputs: Mapping[str, Any]) -> bytes | None:
        """Give bytes that are others when a file that a call would read is another."""
        sources = self.sources(call, inputs)
        if sources is None:
            return None
        try:
            return sha256(b"".join(map(self.identity_of, sources))).digest()
        except OSError:
            return None

    @staticmethod
    def identity_of(source: Source) -> bytes:
        """Give bytes that are others when a file is another: by content, if that costs little."""
        if source.size <= SMALL or time.time_ns() - source.changed < RECENTLY:
            with source.path.open("rb") as stream:
                whole = sha256(source.path.name.encode())
                while part := stream.read(SMALL):
                    whole.update(part)
                return whole.digest()
        state = (source.path, source.size, source.modified, source.changed, source.inode)
        return sha256(repr(state).encode()).digest()


def readers(blocks: Iterable[Block]) -> Iterator[Call]:
    """Walk over the calls that read files, also those inside loops."""
    for block in blocks:
        if not isinstance(block, Call):
            yield from readers(block.body)
        elif block.node.reads:
            yield block


def _arguments(call: Call, inputs: Mapping[str, Any]) -> dict[str, Any] | None:
    """Give what `reads` is called with, as far as it is known before the run."""
    arguments: dict[str, Any] = {}
    for name in _names(call.node.reads) if call.node.reads else ():
        value = call.arguments.get(name, Literal(call.node.parameters[name].default))
        if isinstance(value, Literal):
            arguments[name] = value.value
        elif isinstance(value, Reference) and not value.fields and value.name in inputs:
            arguments[name] = inputs[value.name]
        else:
            return None
    return arguments


@cache
def _names(reads: Reads) -> tuple[str, ...]:
    return tuple(signature(reads).parameters)


def _folders(sources: Iterable[Source]) -> dict[Path, int]:
    """Look when a file was last put into, or taken out of, the folders of files."""
    return {folder: folder.stat().st_mtime_ns for folder in {it.path.parent for it in sources}}
