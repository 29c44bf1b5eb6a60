"""What runs remember: the values of blocks by their keys, in memory and in a folder."""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from graph import Block, Graph, has_effect, sources_of, values_of

from ..content.canonical import encoded
from ..content.files import Files, readers
from ..content.keys import Key, Recipe, keys_of, recipes_of
from ..content.versions import library_versions, machine_facts
from ..memory.rest import is_brought
from ..values import names_in
from .explain import Explanation
from .memory import Memory, Versions
from .remember import FORGOTTEN
from .store import Store

GIGABYTE = 10**9
log = logging.getLogger("run-graph")
PLANS = 8
"""So many plans have their keys prepared at a time."""


class Cache:
    """Remembers the values of blocks: hand it to a Session, or to several on one device.

    `memory` says how many bytes of values stay in memory, by default as many as half of the device
    has; `folder` is where values also go as files, at most `folder_bytes` of them. Raises OSError
    for a folder that cannot be made.
    """

    def __init__(
        self,
        memory: int | None = None,
        folder: Path | None = None,
        folder_bytes: int = 10 * GIGABYTE,
    ) -> None:
        self.limit = memory
        self.memory = Memory(memory or 0)
        self.store = Store(folder, folder_bytes) if folder else None
        self.explanation = Explanation(folder) if folder else None
        self.files = Files()
        self._last: CachedRun | None = None
        self._recipes: OrderedDict[int, tuple[Graph, list[Recipe | None]]] = OrderedDict()

    def __call__(
        self, plan: Graph, inputs: Mapping[str, Any], machine: Mapping[str, Any]
    ) -> CachedRun:
        """Begin to remember for a run of a plan."""
        device, dtype = machine["device"], machine["dtype"]
        if self.limit is None:
            self.limit = self.memory.limit = half_of_memory(device)
        self.memory.begin_run()
        named = {"device": device, "dtype": dtype}
        keys = keys_of(self._prepared(plan), inputs, named, self.files.identity)
        run = CachedRun(self, plan, inputs, keys, device)
        if self.store and self.explanation:
            # Values that another process finds were made by the same libraries on such a machine.
            facts = machine_facts(device, dtype) | library_versions()
            run.salt = encoded(facts)
            run.reasons = self.explanation.reasons(plan, keys, inputs, self.files, facts)
        self._last = run
        return run

    def keep_at_most(self, size: int) -> None:
        """Keep so many bytes in memory, and no more than ever, during the next run."""
        self.memory.keep_at_most(size if self.limit is None else min(size, self.limit))

    def explained(self) -> list[tuple[str, str]]:
        """Say for every block of the last plan why it ran or did not."""
        return self._last.explained() if self._last else []

    def _prepared(self, plan: Graph) -> list[Recipe | None]:
        if id(plan) not in self._recipes:
            self._recipes[id(plan)] = plan, recipes_of(plan)
            if len(self._recipes) > PLANS:
                self._recipes.popitem(last=False)
        return self._recipes[id(plan)][1]


@dataclass
class CachedRun:
    """What one run is told by earlier ones, and tells later ones."""

    cache: Cache
    plan: Graph
    inputs: Mapping[str, Any]
    keys: dict[str, Key]
    device: torch.device
    salt: bytes = b""
    reasons: dict[str, str] = field(default_factory=dict[str, str])
    said: dict[str, str] = field(default_factory=dict[str, str])
    given: dict[str, Versions] = field(default_factory=dict[str, Versions])

    def recall(self, block: Block) -> Any:
        """Give the value of a block, or FORGOTTEN."""
        key = self.keys.get(block.name)
        if key is None:
            self.said[block.name] = "ran: what it is given cannot be compared with other runs"
            return FORGOTTEN
        value = self.cache.memory.get(key)
        if value is not FORGOTTEN:
            self.said[block.name] = "did not run: its value is in memory"
            self.given[block.name] = Versions(value)
            return value
        if self.cache.store:
            value = self.cache.store.get(self._outside(key), block.result, self.device)
            if value is not FORGOTTEN:
                self.said[block.name] = "did not run: its value is in the folder"
                self.cache.memory.put(key, value)
                self.given[block.name] = Versions(value)
                return value
        reason = self.reasons.get(block.name, "its value is not kept")
        self.said[block.name] = f"ran: {reason}"
        return FORGOTTEN

    def keep(self, block: Block, value: Any) -> None:
        """Take notice of the value that a block was run for."""
        if is_brought(block):
            return  # it is to go as soon as its block is done
        if has_effect(block):
            self.said[block.name] = "ran: it has an effect"
            return
        if self._read_more_than_said(block, value) or self._changed_what_it_was_given(block):
            self.keys.clear()  # nothing that comes after it can be told from other runs
        self.given[block.name] = Versions(value)
        key = self.keys.get(block.name)
        if key is None:
            return
        self.cache.memory.put(key, value)
        if self.cache.store and not self.cache.store.put(self._outside(key), value, block.result):
            self.said[block.name] += f"; {type(value).__name__} cannot be kept as a file"

    def explained(self) -> list[tuple[str, str]]:
        """Say for every block of the plan why it ran or did not."""
        unsaid = "did not run: nothing that ran needs it"
        return [(block.name, self.said.get(block.name, unsaid)) for block in self.plan.blocks]

    def _outside(self, key: Key) -> Key:
        return sha256(self.salt + key).digest()

    def _changed_what_it_was_given(self, block: Block) -> bool:
        names = names_in(values_of(block)) & self.given.keys()
        changed = sorted(name for name in names if not self.given[name].are_as_they_were())
        for name in changed:
            log.warning("'%s' changes '%s' in place, which a node must not", block.name, name)
        return bool(changed)

    def _read_more_than_said(self, block: Block, value: Any) -> bool:
        """Tell whether a value came from files that its node's `reads` does not name."""
        found = {source.path for source in sources_of(value)}
        if not found:
            return False
        said = (self.cache.files.sources(call, self.inputs) or () for call in readers([block]))
        return not found <= {source.path for sources in said for source in sources}


def half_of_memory(device: torch.device) -> int:
    """Give half of the bytes that a device has."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1] // 2
    if hasattr(os, "sysconf"):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    return 8 * GIGABYTE
