"""The folder of a sweep: a folder a row, named by its content, there whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from graph import write_whole

from ..workers import Outcome
from .page import contact_page
from .rows import Row, varied

RECORD, FAILURE, MANIFEST, PAGE = "row.json", ".failed.json", "manifest.jsonl", "index.html"
STALE = 3600  # seconds after which a part that nobody has finished is a killed sweep's


class SweepFolder:
    """Results of any number of sweeps that may run at the same time, each result once.

    `NAME/` holds the files of the row NAME and `row.json`; `NAME.failed.json` tells why the row
    has failed so far. Two sweeps over the same rows write the same names: the first to finish a row
    wins, and the other's equal result is dropped.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        for part in path.glob(".part-*"):
            if time.time() - part.stat().st_mtime > STALE:
                shutil.rmtree(part, ignore_errors=True)

    def missing(self, rows: Sequence[Row]) -> list[Row]:
        """Pick the rows that have no result yet; those that failed have none."""
        there = set(os.listdir(self.path))
        return [row for row in rows if row.name not in there]

    def publish(self, row: Row, outcome: Outcome) -> None:
        """Make the files of a row appear, all at once, or note why there are none."""
        failure = self.path / f"{row.name}{FAILURE}"
        if outcome.error:
            _write(
                failure,
                json.dumps({"inputs": dict(row.inputs), "error": outcome.error}, default=str),
            )
            return
        record = {
            "inputs": dict(row.inputs),
            "files": sorted(outcome.files),
            "seconds": round(outcome.seconds, 3),
        }
        part = Path(tempfile.mkdtemp(prefix=".part-", dir=self.path))
        try:
            for name, content in outcome.files.items():
                (part / name).write_bytes(content)
            (part / RECORD).write_text(json.dumps(record, default=str), encoding="utf-8")
            part.chmod(0o755)
            os.rename(part, self.path / row.name)
        except OSError:  # another sweep was first, or the disk is full
            shutil.rmtree(part)
            if not (self.path / row.name).is_dir():
                raise
        failure.unlink(missing_ok=True)

    def summarise(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Write a line of the manifest for each row, and the page that shows the pictures."""
        lines = [self._line(row) for row in rows]
        _write(
            self.path / MANIFEST, "".join(f"{json.dumps(line, default=str)}\n" for line in lines)
        )
        _write(self.path / PAGE, contact_page(self.path.name, lines, varied(rows)))
        return lines

    def _line(self, row: Row) -> dict[str, Any]:
        known = {"row": row.number, "name": row.name}
        if row.error:
            return {**known, "status": "refused", "error": row.error}
        record = _read(self.path / row.name / RECORD)
        if record is not None:
            return {**known, "status": "done", **record}
        failure = _read(self.path / f"{row.name}{FAILURE}")
        if failure is not None:
            return {**known, "status": "failed", **failure}
        return {**known, "status": "missing", "inputs": dict(row.inputs)}


def _read(path: Path) -> Mapping[str, Any] | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def _write(path: Path, text: str) -> None:
    write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))
