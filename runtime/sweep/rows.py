"""The rows of a sweep: what each of many runs of one graph is given."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from graph import (
    Finding,
    Graph,
    GraphError,
    bind,
    did_you_mean,
    parse_inputs,
    parse_value,
    written_inputs,
)

Cells = dict[str, Any]
"""What one row sets: text as a table or a command line has it, values as JSON has them."""


@dataclass(frozen=True)
class Row:
    """One run of a sweep; `name` is the digest of the graph and of all that it is given.

    `inputs` are all inputs of the graph but the files that it writes. A row that the graph refuses
    has no inputs, but the `error`.
    """

    number: int
    name: str
    inputs: Mapping[str, Any]
    error: str = ""


def read_rows(
    graph: Graph, fixed: Mapping[str, Any], table: Path | None, grid: Iterable[str]
) -> list[Row]:
    """Combine every line of a table with every point of a grid; equal rows are one.

    Raises GraphError where the table or the grid itself is wrong; a row that is wrong says so in
    its `error`, and the others do not suffer.
    """
    written = written_inputs(graph)
    lines: list[Cells] = [{}] if table is None else list(_read_table(graph, table))
    points = _grid(graph, grid)
    named = {name for cells in (fixed, *lines, *points) for name in cells}
    if taken := sorted(named & set(written)):
        message = f"input '{taken[0]}' names a file, and a sweep names the files itself"
        raise GraphError([Finding(None, message, f"leave {taken[0]} out")])
    if twice := sorted({name for line in lines for name in line} & set(points[0])):
        message = f"input '{twice[0]}' is in the table and in --grid"
        raise GraphError([Finding(None, message, "leave it out of one of them")])
    digest = _name("".join(file.text for file in graph.files))
    rows: dict[str, Row] = {}
    for number, (line, point) in enumerate(itertools.product(lines, points), 1):
        row = _row(graph, digest, number, {**fixed, **line, **point}, written)
        rows.setdefault(row.name, row)
    return list(rows.values())


def shard(rows: Sequence[Row], index: int, count: int) -> list[Row]:
    """Take the part `index` of `count`, from 1 on: every part has its share of every region."""
    return [row for position, row in enumerate(rows) if position % count == index - 1]


def in_order_of_cost(rows: Sequence[Row]) -> list[Row]:
    """Order rows so that what has few values, such as the model, changes least often."""
    values = {name: {_canonical(row.inputs.get(name)) for row in rows} for name in _names(rows)}
    columns = sorted(values, key=lambda name: len(values[name]))
    return sorted(rows, key=lambda row: [_canonical(row.inputs.get(name)) for name in columns])


def varied(rows: Sequence[Row]) -> list[str]:
    """Name the inputs that are not the same in all rows."""
    return [
        name
        for name in _names(rows)
        if len({_canonical(row.inputs[name]) for row in rows if name in row.inputs}) > 1
    ]


def _names(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.inputs))


def _row(graph: Graph, digest: str, number: int, cells: Cells, written: Iterable[str]) -> Row:
    given = json.dumps([digest, cells], sort_keys=True, default=str)
    try:
        words = [f"{name}={cell}" for name, cell in cells.items() if isinstance(cell, str)]
        values = {name: cell for name, cell in cells.items() if not isinstance(cell, str)}
        bound = bind(graph, {**values, **parse_inputs(graph, words)})
    except GraphError as error:
        return Row(number, _name(given), {}, str(error))
    inputs = {name: value for name, value in bound.items() if name not in written}
    return Row(number, _name(f"{digest} {_canonical(inputs)}"), inputs)


def _name(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _read_table(graph: Graph, table: Path) -> Iterator[Cells]:
    """Walk over the lines of a CSV or JSONL file; an empty cell leaves its input as it is."""
    try:
        text = table.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise GraphError([Finding(None, f"--sweep: '{table}': {error.strerror}")]) from error
    if table.suffix.lower() in (".jsonl", ".ndjson"):
        yield from _json_lines(table, text)
        return
    reader = csv.DictReader(text.splitlines(keepends=True), strict=True)
    unknown = [name for name in reader.fieldnames or [] if name not in graph.inputs]
    if unknown:
        message = f"{table}:1: '{graph.name}' has no input '{unknown[0]}'"
        raise GraphError([Finding(None, message, did_you_mean(unknown[0], graph.inputs))])
    for cells in reader:
        if None in cells or None in cells.values():
            message = f"{table}:{reader.line_num}: the line has not as many cells as the first"
            raise GraphError([Finding(None, message, "cells with commas stand in double quotes")])
        yield {name: cell for name, cell in cells.items() if cell != ""}


def _json_lines(table: Path, text: str) -> Iterator[Cells]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            cells = json.loads(line)
        except ValueError as error:
            raise GraphError([Finding(None, f"{table}:{number}: no JSON: {error}")]) from error
        if not isinstance(cells, dict):
            raise GraphError([Finding(None, f"{table}:{number}: a line must be a JSON object")])
        yield cast("Cells", cells)


def _grid(graph: Graph, words: Iterable[str]) -> list[Cells]:
    """List the points of `steps=10,20 seed=0..99 prompt=[a cat, "a dog, running"]`."""
    axes: dict[str, list[Any]] = {}
    for word in words:
        name, _, text = word.partition("=")
        if name not in graph.inputs or not text:
            message = f"--grid: '{word}' does not give an input of '{graph.name}' its values"
            help = did_you_mean(name, graph.inputs) or "write name=value,value or name=0..99"
            raise GraphError([Finding(None, message, help)])
        _refuse_slip(graph, name, text)
        axes[name] = _axis(text, name)
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def _refuse_slip(graph: Graph, name: str, text: str) -> None:
    """Raise GraphError for `0-5` or `0...5` where an input does not take it: a range is meant."""
    slip = re.fullmatch(r"(-?\d+)\s*(?:-|\.{3})\s*(-?\d+)", text)
    if slip:
        try:
            parse_inputs(graph, [f"{name}={text}"])
        except GraphError as error:
            help = f"a range is written {name}={slip[1]}..{slip[2]}"
            found = [replace(finding, help=help) for finding in error.findings]
            raise GraphError(found) from error


def _axis(text: str, name: str) -> list[Any]:
    span = re.fullmatch(r"(-?\d+)\.\.(-?\d+)", text)
    if span:
        first, last = map(int, span.groups())
        return list(range(first, last + 1)) if first <= last else list(range(first, last - 1, -1))
    if text.startswith("["):
        return cast("list[Any]", parse_value(text, name))
    return [part.strip() for part in text.split(",")]
