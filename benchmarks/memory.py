"""What `--memory` holds a full-width Stable Diffusion 1.5 to, and what that costs, on this CPU.

    python -m benchmarks.memory FOLDER [--size 256] [--steps 2] [--rounds 2] [SIZE ...]

Writes random weights to FOLDER if it is empty. Every run is a process of its own; one without a
limit takes turns with one for each SIZE, as 2GB. Prints what was foreseen; what the process held at
most above what it held before; processor seconds, medians with their spread, and the ratio to
those without a limit; and the measures.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.loading import write

SIZES = ("2GB", "1.5GB", "1GB", "500MB")
UNLIMITED = "1TB"


def draw(folder: str, size: int, steps: int, memory: str) -> dict[str, Any]:
    """Draw a picture and measure."""
    import nodes  # noqa: F401
    from benchmarks.unet import held
    from graph import bind, load
    from runtime import Session
    from runtime.plan import make_plan

    session = Session("cpu", "bfloat16", cache=None, memory=memory)
    Session("cpu", "bfloat16", cache=None)(load("emoji"), steps=1, output=f"{folder}/x.png")
    graph = load("sd15")
    given = {"model": folder, "prompt": "a lighthouse", "width": size, "height": size}
    given |= {"steps": steps, "output": f"{folder}/x.png"}
    known = bind(graph, given)
    spared = session.fitting.fit(make_plan(graph, known), known)
    before, most, done = held(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            most[0] = max(most[0], held())

    watcher = threading.Thread(target=watch)
    watcher.start()
    begin = time.process_time()
    session(graph, **given)
    seconds = time.process_time() - begin
    done.set()
    watcher.join()
    assert session.fitting.room is not None
    assert spared.left is not None
    return {
        "foreseen": session.fitting.room - spared.left,
        "held": most[0] - before,
        "seconds": seconds,
        "measures": [f"{saving.rung} {saving.call}" for saving in spared.savings],
    }


def main() -> None:
    """Let the sizes take turns and print a line for each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("sizes", nargs="*", default=SIZES)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--one", action="store_true")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(draw(str(given.folder), given.size, given.steps, given.sizes[0])))
        return
    if not (given.folder / "model_index.json").exists():
        write(given.folder, "float32")
    run(given, UNLIMITED)  # once, files are read and hashed
    runs: dict[str, list[dict[str, Any]]] = {memory: [] for memory in (UNLIMITED, *given.sizes)}
    for _ in range(given.rounds):
        for memory, found in runs.items():
            found.append(run(given, memory))
    base = statistics.median(one["seconds"] for one in runs[UNLIMITED])
    for memory, found in runs.items():
        most = max(one["held"] for one in found) / 1e9
        seconds = [one["seconds"] for one in found]
        median, spread = statistics.median(seconds), f"{min(seconds):.1f} to {max(seconds):.1f}"
        print(
            f"{'no limit' if memory == UNLIMITED else memory:>8}: "
            f"foreseen {found[0]['foreseen'] / 1e9:.2f} GB, held {most:.2f} GB, "
            f"{median:.1f} s ({spread}), {median / base:.2f}; "
            f"{', '.join(found[0]['measures']) or 'no measures'}"
        )


def run(given: argparse.Namespace, memory: str) -> dict[str, Any]:
    """Draw in a process of its own."""
    words = [str(given.folder), memory, "--one"]
    words += ["--size", str(given.size), "--steps", str(given.steps)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", *words],
        # Freed memory goes back to the system at once, so that what is held can be seen.
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"},
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
