"""What `--memory` holds a full-width Stable Diffusion 1.5 to, and what that costs, on this CPU.

    python -m benchmarks.memory FOLDER [--size 256] [--steps 2] [SIZE ...]

Writes random weights to FOLDER if it is empty. Each run is a process of its own: one without a
limit, then one for each SIZE, as 2GB. Prints what was foreseen, what the process held at most above
what it held before, its processor seconds, and the measures.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.loading import write

SIZES = ("2GB", "1.5GB", "1GB", "500MB")


def held() -> int:
    """Give the bytes that this process holds, but for pages of files."""
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith("RssAnon"))


def draw(folder: str, size: int, steps: int, memory: str) -> dict[str, Any]:
    """Draw a picture and measure."""
    import nodes  # noqa: F401
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
    """Run the sizes in turn and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("sizes", nargs="*", default=SIZES)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--one", action="store_true")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(draw(str(given.folder), given.size, given.steps, given.sizes[0])))
        return
    if not given.folder.exists():
        write(given.folder, "float32")
    # Freed memory goes back to the system at once, so that what is held can be seen.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    for memory in ("1TB", *given.sizes):
        command = [sys.executable, "-m", "benchmarks.memory", str(given.folder), memory, "--one"]
        command += ["--size", str(given.size), "--steps", str(given.steps)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        foreseen, most = (f"{found[name] / 1e9:.3g} GB" for name in ("foreseen", "held"))
        measures = ", ".join(found["measures"]) or "none"
        print(
            f"{memory:>6}: foreseen {foreseen}, held {most}, {found['seconds']:.1f} s; {measures}"
        )


if __name__ == "__main__":
    main()
