"""What the command takes in a cold process, and what not looking for garbage early saves of it.

    python -m benchmarks.command [--rounds 5]

Draws one picture of one step with the embedded checkpoint, and checks its graph, by `run-graph` as
it comes and with Python's garbage collector at work from the start, in turn. Prints processor
seconds of whole processes, medians with their spread, and the ratio.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile

WORDS = {"a picture": ("emoji", "steps=1"), "a check": ("check", "emoji")}
AS_IT_COMES = "from runtime.cli import command; command()"
WAYS = {
    "as it comes": AS_IT_COMES,
    "with garbage looked for": f"import gc; gc.disable = gc.freeze = lambda: None; {AS_IT_COMES}",
}


def seconds(code: str, words: tuple[str, ...], folder: str) -> float:
    """Run Python code with words of the command, and give what it took of the processor."""
    before = os.times()
    subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=folder, env=os.environ | {"PYTHONPATH": os.getcwd()}, capture_output=True, check=True,
    )  # fmt: skip
    after = os.times()
    return sum(after[2:4]) - sum(before[2:4])


def main() -> None:
    """Let the ways take turns and print their medians."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    for name, words in WORDS.items():
        found: dict[str, list[float]] = {way: [] for way in WAYS}
        with tempfile.TemporaryDirectory() as folder:
            for turn in range(given.rounds + 1):
                for way, code in WAYS.items():
                    taken = seconds(code, words, folder)
                    if turn:  # the first compiles Python's bytecode and reads files
                        found[way].append(taken)
        base = statistics.median(found["as it comes"])
        for way, taken in found.items():
            median, spread = statistics.median(taken), f"({min(taken):.2f} to {max(taken):.2f})"
            print(f"{name}, {way:<26}{median:6.2f} s {spread}, {median / base:.2f}", flush=True)


if __name__ == "__main__":
    main()
