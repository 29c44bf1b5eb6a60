"""How a result was made: the record that savers write into what they save."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch

from graph import (
    Block,
    Call,
    Graph,
    Source,
    calls_of,
    digest_in_background,
    has_effect,
    without_folder,
    without_folders,
)

from ..content.canonical import NotCanonical, digest
from ..content.files import Files, readers
from ..content.versions import (
    code_of,
    is_ours,
    libraries_of,
    library_versions,
    machine_facts,
)
from ..errors import brief
from ..memory.rungs import Saving

FORMAT = 1
Record = dict[str, Any]
"""What JSON can hold."""


class Provenance:
    """Tells the savers of one run how what they save was made; never a folder, a name or a token.

    `batch` counts the runs that were done as one with it. `provenance(call)` is what is supplied to
    a call: a function that gives the record, and counts how often that call has asked.
    """

    def __init__(
        self,
        graph: Graph,
        plan: Graph,
        inputs: Mapping[str, Any],
        device: torch.device,
        dtype: torch.dtype,
        passes: Sequence[str],
        savings: Sequence[Saving],
        files: Files,
        batch: int = 1,
    ) -> None:
        self.graph, self.plan, self.inputs, self.passes = graph, plan, inputs, list(passes)
        self.machine, self.savings, self.batch = (device, dtype), savings, batch
        self.sources: dict[str, tuple[Source, ...]] = {}
        self.saved = Counter[str]()
        self.common: Record | None = None
        if any(has_effect(block) for block in plan.blocks):
            for call in readers(plan.blocks):
                self.sources[call.name] = files.sources(call, inputs) or ()
                digest_in_background(self.sources[call.name])

    def __call__(self, call: Call) -> Callable[[], Record]:
        """Give the function that a saver asks for its record."""

        def record() -> Record:
            if self.common is None:
                self.common = self._common()
            self.saved[call.name] += 1
            return {**self.common, "block": call.name, "time": self.saved[call.name] - 1}

        return record

    def _common(self) -> Record:
        inputs, shortened = _as_json(self.inputs)
        return {
            "format": FORMAT,
            "run-graph": library_versions().get("run-graph", ""),
            "graph": [asdict(without_folders(file)) for file in self.graph.files],
            "inputs": inputs,
            "shortened": shortened,
            "files": file_facts(self.sources),
            "nodes": own_nodes(self.plan.blocks),
            "passes": self.passes,
            "savings": self.savings,
            "batch": self.batch,
            "machine": machine_facts(*self.machine),
            "versions": library_versions() | own_libraries(self.plan.blocks),
        }


def file_facts(sources: Mapping[str, Iterable[Source]]) -> list[Record]:
    """Say what each file is that the calls of these names read."""
    facts: list[Record] = []
    for block, found in sources.items():
        for source in found:
            fact = {"block": block, "file": source.path.name, "bytes": source.size}
            try:
                fact["sha256"] = source.digest()
            except (OSError, ValueError):
                fact["sha256"] = "unknown: it changed during the run"
            if source.repository:
                fact |= {"repository": source.repository, "commit": source.commit}
            facts.append(fact)
    return facts


def _as_json(inputs: Mapping[str, Any]) -> tuple[Record, list[str]]:
    """Give inputs as JSON has them, and the names of those of which a part was left out."""
    values: Record = {}
    shortened: list[str] = []
    for name, value in inputs.items():
        lost: list[Any] = []
        values[name] = _plain(value, lost)
        if lost:
            shortened.append(name)
    return values, shortened


def _plain(value: Any, lost: list[Any]) -> Any:
    """Give a value as JSON has it; what is not whole then is put to the `lost`."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item, lost) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        items = cast("dict[Any, Any]", value).items()
        return {str(key): _plain(item, lost) for key, item in items}
    if isinstance(value, str | Path):
        short = without_folder(str(value))
        lost += [value] if short != str(value) else []
        return short
    lost.append(value)
    try:
        return f"{brief(value)}, SHA-256 {digest(value).hex()}"
    except NotCanonical:
        return brief(value)


def own_nodes(blocks: tuple[Block, ...]) -> dict[str, str | None]:
    """Give the SHA-256 of the code of those nodes that do not come with run-graph."""
    nodes = [call.node for call in calls_of(blocks)]
    return {node.name: code_of(node) for node in nodes if not is_ours(node)}


def own_libraries(blocks: tuple[Block, ...]) -> dict[str, str]:
    """Give the versions of the packs, and of what they import, of such nodes."""
    found = [libraries_of(call.node) for call in calls_of(blocks)]
    return {name: number for libraries in found for name, number in libraries.items()}
