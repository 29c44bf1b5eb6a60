"""A sweep over two Ray workers that is killed again and again, and what a row costs beside a run.

    python benchmarks/sweep.py [ROWS] [KILLS]

Sweeps the embedded emoji-64 over ROWS good rows and three bad ones, in processes that are killed
(SIGKILL), in turn the sweep itself and one of its workers, KILLS times. Then counts: every good row
once, no picture twice, the bad rows reported. Last, times rows through a sweep of two processes
and through one Session.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
TIMED = 100


def command(folder: Path, table: Path, where: str) -> list[str]:
    """Write the words of a sweep."""
    words = ["emoji", "steps=2", "--sweep", str(table), "--out", str(folder), "--on", where]
    return [sys.executable, "-m", "runtime.cli", *words]


def workers_of(driver: int) -> list[int]:
    """Find the Ray actors whose sweep runs in the process `driver`."""
    import psutil

    children = psutil.Process(driver).children(recursive=True)
    return [child.pid for child in children if "ray::ThreadWorker" in " ".join(child.cmdline())]


def kill_again_and_again(folder: Path, table: Path, kills: int) -> int:
    """Run a sweep to its end, through `kills` kills at random moments; give how many were left."""
    chance = random.Random(0)
    while True:
        with subprocess.Popen(
            command(folder, table, "ray"), stderr=subprocess.PIPE, text=True, cwd=ROOT
        ) as driver:
            assert driver.stderr is not None
            said: list[str] = []
            next_kill = 0.0
            for line in driver.stderr:
                said.append(line)
                if kills == 0 or " rows, " not in line.replace(" failed", " rows"):
                    continue
                if not next_kill:
                    next_kill = time.monotonic() + chance.uniform(0, 1)
                if time.monotonic() < next_kill:
                    continue
                victims = workers_of(driver.pid) if kills % 2 else [driver.pid]
                if victims:
                    os.kill(chance.choice(victims), signal.SIGKILL)
                    kills -= 1
                    next_kill = 0.0
                    print(f"killed {'a worker' if kills % 2 == 0 else 'the sweep'}", flush=True)
        if driver.returncode >= 0:
            print("".join(line for line in said if line.startswith("row ")), end="")
            print(f"the last sweep ended with exit code {driver.returncode}")
            return kills


def main(rows: int, kills: int) -> None:
    """Print what came of it."""
    with tempfile.TemporaryDirectory() as temporary:
        table, folder = Path(temporary) / "rows.jsonl", Path(temporary) / "out"
        cells = [{"prompt": f"{'two lions' if n % 2 else 'a fox'}", "seed": n} for n in range(rows)]
        cells += [{"prompt": 7}, {"prompt": "x", "seed": "many"}, {"steps": 0}]
        table.write_text("\n".join(map(json.dumps, cells)))
        begin = time.monotonic()
        kills -= kill_again_and_again(folder, table, kills)
        print(f"{rows} rows through {kills} kills in {time.monotonic() - begin:.0f} s")
        lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
        statuses = [line["status"] for line in lines]
        pictures = [path.read_bytes() for path in folder.glob("*/emoji.png")]
        print({status: statuses.count(status) for status in sorted(set(statuses))})
        print(f"{len(pictures)} pictures, {len(set(pictures))} distinct")
        assert len(set(pictures)) == len(pictures) == statuses.count("done") == rows
        assert statuses.count("refused") == 3
        time_a_row(Path(temporary))


def time_a_row(temporary: Path) -> None:
    """Print the rate of one Session, and of sweeps over one process, two, and Ray.

    From the first result on, because before it workers start. What a row takes beside its run is
    the time between results, for each of the workers, less the time that they say the runs took.
    """
    import nodes  # noqa: F401
    from graph import load
    from runtime import Session

    graph, session = load("emoji"), Session(device="cpu")
    output = str(temporary / "one.png")
    session(graph, steps=2, prompt="a fox", output=output)
    begin = time.perf_counter()
    for seed in range(TIMED):
        session(graph, steps=2, prompt="a fox", seed=seed, output=output)
    alone = (time.perf_counter() - begin) / TIMED
    print(f"one Session: {1000 * alone:.0f} ms a row")
    table = temporary / "timed.jsonl"
    lines = [{"prompt": "a fox", "seed": seed} for seed in range(TIMED)]
    table.write_text("\n".join(map(json.dumps, lines)))
    for where, workers in (("here", 1), ("local:2", 2), ("ray", os.cpu_count() or 1)):
        folder = temporary / f"timed-{where}"
        subprocess.run(command(folder, table, where), cwd=ROOT, check=True, capture_output=True)
        records = sorted(folder.glob("*/row.json"), key=lambda path: path.stat().st_mtime)
        ended = [path.stat().st_mtime for path in records]
        each = (ended[-1] - ended[0]) / (TIMED - 1)
        # The first row of each worker loads the models.
        runs = [json.loads(path.read_text())["seconds"] for path in records[workers:]]
        beside = workers * each - sum(runs) / len(runs)
        print(
            f"--on {where}: {1000 * each:.0f} ms a row, {alone / each:.2f} x one Session, "
            f"{1000 * beside:.1f} ms a row beside its run"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:] or ("500", "10")))
