"""`run-graph GRAPH --sweep TABLE --grid name=values`: many runs, each result exactly once."""

import argparse
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from graph import Graph

from ..provenance.lock import pinned
from ..sweep import Row, SweepFolder, in_order_of_cost, read_rows, shard, spread
from ..workers import Outcome, Runner, Task, WorkerDied
from .lock import commits_in
from .shared import FAILED, INTERRUPTED, OK, PARTIAL, WRONG, wrong
from .worker import make_job, session_here, workers_on


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take where the rows come from, where they run and where their results go."""
    option = parser.add_argument
    option("--sweep", type=Path, metavar="TABLE")
    option("--grid", nargs="+", default=[], metavar="name=values")
    option("--out", type=Path, metavar="FOLDER")
    option("--shard", default="1/1", metavar="i/n")
    option("--on", default="here", metavar="WHERE")


def run(given: argparse.Namespace, graph: Graph, inputs: Mapping[str, Any]) -> int:
    """Run the rows that have no result yet, and write the manifest and the page of all shards."""
    whole = read_rows(graph, inputs, given.sweep, given.grid)
    rows = shard(whole, *_shard(given.shard))
    if all(row.error for row in whole):
        _print_refused(whole)
        return WRONG
    runs = [row.inputs for row in rows if not row.error]
    commits = commits_in(given.lock, graph, runs) if given.lock else {}
    folder = SweepFolder(given.out or Path(f"{graph.name}-sweep"))
    waiting = in_order_of_cost([row for row in folder.missing(rows) if not row.error])
    named = {row.name: row for row in waiting}
    progress = _Progress(sys.stderr, len(rows), len(rows) - len(runs), len(waiting))
    code = OK
    try:
        for outcome in _outcomes(given, graph, commits, waiting):
            folder.publish(named[outcome.id], outcome)
            progress(outcome)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except WorkerDied as error:
        print(error, file=sys.stderr)
        code = FAILED
    except OSError as error:
        print(f"{error}; the rows that are done stay in {folder.path}", file=sys.stderr)
        return FAILED
    numbers = {row.number for row in rows}
    lines = [line for line in folder.summarise(whole) if line["row"] in numbers]
    left = [line for line in lines if line["status"] != "done"]
    for line in left:
        if "error" in line:
            print(f"row {line['row']} ({line['status']}): {line['error']}", file=sys.stderr)
    print(f"{len(lines) - len(left)} of {len(lines)} rows are done: {folder.path / 'index.html'}")
    return code or (PARTIAL if left else OK)


def _outcomes(
    given: argparse.Namespace, graph: Graph, commits: Mapping[str, str], rows: Sequence[Row]
) -> Iterator[Outcome]:
    tasks = [Task(row.name, graph.name, row.inputs) for row in rows]
    job = make_job(given, [graph], watched=False, commits=commits)
    if given.on == "here":
        runner = Runner(session_here(job), {graph.name: pinned(graph, commits)})
        return (outcome for task in tasks for outcome in runner.run([task]))
    workers = workers_on(given.on, job)
    return spread(tasks, workers.count, workers.start, workers.wait)


def _print_refused(rows: Iterable[Row]) -> None:
    for row in rows:
        print(f"row {row.number} (refused): {row.error}", file=sys.stderr)


def _shard(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise wrong(f"--shard: '{text}' is no part of a whole", "write 1/8 to 8/8")
    return int(found[1]), int(found[2])


class _Progress:
    """Tells, at most once a second, how far a sweep is."""

    def __init__(self, stream: TextIO, rows: int, refused: int, waiting: int) -> None:
        self.stream, self.waiting = stream, waiting
        self.done = self.failed = 0
        self.begin = self.told = time.monotonic()
        if done := rows - refused - waiting:
            print(f"{done} of {rows} rows need no run", file=stream)
        if refused:
            print(f"{refused} of {rows} rows are refused", file=stream)

    def __call__(self, outcome: Outcome) -> None:
        self.done += 1
        self.failed += bool(outcome.error)
        now = time.monotonic()
        if now - self.told < 1 and self.done < self.waiting:
            return
        self.told = now
        rate = self.done / max(now - self.begin, 1e-9)
        left = (self.waiting - self.done) / rate
        failed = f", {self.failed} failed" if self.failed else ""
        print(
            f"{self.done}/{self.waiting} rows{failed}, {rate:.2g} a second, {_duration(left)} left",
            file=self.stream,
            flush=True,
        )


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes} min"
        if hours
        else f"{minutes} min {seconds} s"
        if minutes
        else f"{seconds} s"
    )
