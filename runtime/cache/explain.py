"""Why a block ran or did not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from graph import Block, Call, Graph, ListOf, Literal, Value, references, values_of, write_whole

from ..content.canonical import NotCanonical, digest
from ..content.files import Files, readers
from ..content.keys import Key
from ..content.versions import code_of, libraries_of

Parts = dict[str, str]
"""What a block's key is made of, by what a person calls it."""


class Explanation:
    """Knows of what the blocks of a graph were made the last time, and so what is another now."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "last"

    def reasons(
        self,
        plan: Graph,
        keys: Mapping[str, Key],
        inputs: Mapping[str, Any],
        files: Files,
        facts: Mapping[str, Any],
    ) -> dict[str, str]:
        """Say for every block what is another than at the last run, and remember this run.

        `facts` are the machine and its libraries, on which every value hangs.
        """
        note = self._folder / f"{hashlib.sha256(plan.name.encode()).hexdigest()}.json"
        last: dict[str, Parts] = {}
        with suppress(OSError, ValueError):
            last = json.loads(note.read_text(encoding="utf-8"))
        shared = {name: str(fact) for name, fact in facts.items()}
        now = {block.name: _parts(block, keys, inputs, files) | shared for block in plan.blocks}
        text = json.dumps({**last, **now})
        with suppress(OSError):  # a run does not fail because it cannot be remembered
            write_whole(note, lambda part: part.write_text(text, encoding="utf-8"))
        return {name: _reason(last.get(name), parts) for name, parts in now.items()}


def _reason(last: Parts | None, now: Parts) -> str:
    if last is None:
        return "it did not run before"
    others = [name for name in {**last, **now} if last.get(name) != now.get(name)]
    if not others:
        return "its value was not kept"
    return f"{', '.join(others)} {'is' if len(others) == 1 else 'are'} not as at the last run"


def _parts(block: Block, keys: Mapping[str, Key], inputs: Mapping[str, Any], files: Files) -> Parts:
    parts: Parts = {}
    if isinstance(block, Call):
        parts["its code"] = str(code_of(block.node))
        parts |= libraries_of(block.node)
        for name, value in block.arguments.items():
            whose = ", ".join(f"'{found.name}'" for found in references([value]))
            parts[f"`{name}` ({whose})" if whose else f"`{name}`"] = _told(value, keys)
    else:
        parts["its body"] = hashlib.sha256(_shape(block).encode()).hexdigest()
        named = (found.name for found in references(values_of(block)))
        for name in dict.fromkeys(named):  # in the order of the graph
            if name in keys:
                parts[f"'{name}'"] = keys[name].hex()
    for call in readers([block]):
        for source in files.sources(call, inputs) or ():
            with suppress(OSError):
                parts[f"the file {source.path.name}"] = Files.identity_of(source).hex()
    return parts


def _told(value: Value, keys: Mapping[str, Key]) -> str:
    match value:
        case Literal():
            with suppress(NotCanonical):
                return digest(value.value).hex()
            return "unknown"
        case ListOf():
            return " ".join(_told(item, keys) for item in value.items)
        case _:
            return keys[value.name].hex() if value.name in keys else "unknown"


def _shape(block: Block) -> str:
    """Write what is in a loop; where a file says it does not matter."""
    return repr([repr(value) for value in values_of(block)])
