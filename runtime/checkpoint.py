"""Where a loop stands, in a file: a run that ended goes on from there, bit for bit."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch

from graph import Finding, Graph, GraphError, Loop, write_whole

from .cache.value_files import NotStorable, as_bytes, read_texts, read_value
from .content.files import Files
from .content.keys import Key, keys_of, recipes_of
from .content.versions import library_versions, machine_facts
from .memory.rungs import Saving
from .provenance.compare import Recorded, parse_record
from .provenance.record import FORMAT

log = logging.getLogger("run-graph")


class Reached(NamedTuple):
    """How many steps of a loop are done, what it then carries, and what it has collected."""

    done: int
    carried: list[Any]
    collected: list[list[Any]]


class Checkpoint:
    """Writes after every so many steps of a loop where it stands, and takes it up again.

    The file holds the graph and its inputs whole, and is there whole or not at all. A loop that
    carries what has no form as a file, a network for example, is not written. While `resuming`,
    loops in front of the one that the file is of run anew, and leave the file as it is.
    """

    def __init__(self, file: Path, every: int, resuming: bool = False) -> None:
        self.file, self.every, self.resuming = file, every, resuming
        self._keys: Mapping[str, Key] = {}
        self._device = torch.device("cpu")
        self._run = ""
        self._last: tuple[Loop, Reached] | None = None

    def begin(
        self,
        graph: Graph,
        plan: Graph,
        inputs: Mapping[str, Any],
        machine: Mapping[str, Any],
        passes: Sequence[str],
        savings: Sequence[Saving],
    ) -> None:
        """Take notice of the run; raises GraphError where an input cannot be written down."""
        device, dtype = machine["device"], machine["dtype"]
        named = {"device": device, "dtype": dtype}
        self._keys = keys_of(recipes_of(plan), inputs, named, Files().identity)
        self._device = device
        record = {
            "format": FORMAT,
            "graph": [asdict(file) for file in graph.files],
            "inputs": dict(inputs),
            "passes": list(passes),
            "savings": savings,
            "machine": machine_facts(device, dtype),
            "versions": library_versions(),
        }
        try:
            self._run = json.dumps(record)
        except TypeError as error:
            message = f"a checkpoint cannot hold what this run was given: {error}"
            raise GraphError([Finding(None, message)]) from error

    def resume(self, loop: Loop) -> Reached | None:
        """Say where a loop stood; None if it begins. Raises GraphError where it is another loop."""
        if not self.resuming:
            return None
        texts = read_texts(self.file)
        if texts["loop"] != loop.name:
            return None
        self.resuming = False
        if texts["key"] != self._key(loop):
            message = f"{self.file} was written by a run with other files, code or inputs"
            raise GraphError([Finding(None, message)])
        value = read_value(self.file, loop.result, self._device)
        carried = [value["carried"][key] for key in loop.carry]
        return Reached(value["done"], carried, [value["collected"][key] for key in loop.collect])

    def step(self, loop: Loop, reached: Reached) -> None:
        """Take notice of a step that is done."""
        if self.resuming:
            return
        self._last = loop, reached
        if reached.done % self.every == 0:
            self.write()

    def write(self) -> bool:
        """Write where the loop stands; says whether the file has it.

        A disk that is full ends no run.
        """
        if self._last is None:
            return False
        loop, reached = self._last
        value = {
            "done": reached.done,
            "carried": dict(zip(loop.carry, reached.carried, strict=True)),
            "collected": dict(zip(loop.collect, reached.collected, strict=True)),
        }
        more = {
            "run": self._run,
            "every": str(self.every),
            "loop": loop.name,
            "key": self._key(loop),
        }
        try:
            data = as_bytes(value, loop.result, more)
            write_whole(self.file, lambda part: part.write_bytes(data))
        except NotStorable:
            return False
        except OSError as error:
            log.warning("%s cannot be written: %s", self.file, error)
            return False
        return True

    def _key(self, loop: Loop) -> str:
        return self._keys.get(loop.name, b"").hex()


def read_run(file: Path) -> tuple[Recorded, int]:
    """Read of what run a checkpoint is, and after how many steps each it is written.

    Raises GraphError for a file that is none.
    """
    try:
        texts = read_texts(file)
        return parse_record(json.loads(texts["run"]), str(file)), int(texts["every"])
    except (OSError, ValueError, KeyError) as error:
        raise GraphError([Finding(None, f"{file} is no checkpoint: {error}")]) from error
