"""Several processes fill and read one bounded cache folder at the same time."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent
PROCESSES, LIMIT = 3, 200_000
SCRIPT = '''
import logging, random, sys
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor

from graph import Kind, load_text, node
from runtime import Session
from runtime.cache.cache import Cache

Sample = Annotated[Tensor, Kind("sample", "B C")]


@node
def draw(seed: int) -> Sample:
    """Draw."""
    return torch.randn(2, 200 + 97 * seed, generator=torch.Generator().manual_seed(seed))


@node
def double(sample: Sample) -> Sample:
    """Double."""
    return sample * 2


GRAPH = """
inputs: {seed: 0}
nodes: {drawn: {node: draw, seed: $seed}, doubled: {node: double, sample: $drawn}}
outputs: {drawn: $drawn, doubled: $doubled}
"""
folder, number, limit = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
logging.getLogger("run-graph").addHandler(logging.StreamHandler(sys.stderr))
graph, chance, recalled = load_text(GRAPH, "two.yaml"), random.Random(number), 0
session = Session("cpu", cache=Cache(0, folder, limit))
for _ in range(400):
    seed = int(40 * chance.random() ** 2)
    found = session(graph, seed=seed)
    right = draw(seed)
    assert torch.equal(found["drawn"], right) and torch.equal(found["doubled"], right * 2)
    recalled += sum(why.startswith("did not run: its value is in") for _, why in session.cache.explained())
print(recalled)
'''


def test_processes_share_a_bounded_folder(tmp_path):
    script, folder = tmp_path / "script.py", tmp_path / "cache"
    script.write_text(SCRIPT)
    folder.mkdir()
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), str(folder), str(number), str(LIMIT)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        )
        for number in range(PROCESSES)
    ]  # fmt: skip
    most = 0
    while any(process.poll() is None for process in processes):
        most = max(most, held(folder))
        time.sleep(0.005)
    most = max(most, held(folder))
    said = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0] * PROCESSES, said
    assert [warnings for _, warnings in said] == [
        ""
    ] * PROCESSES  # nothing was damaged or in the way
    assert all(int(recalled) > 100 for recalled, _ in said)
    assert 0.5 * LIMIT < most <= LIMIT
    assert not list(folder.glob("*/.*.part"))


def held(folder: Path) -> int:
    """Count the bytes of all values in a folder, while nobody writes or deletes one."""
    with FileLock(folder / "lock"):
        return sum(file.stat().st_size for file in folder.glob("??/*"))
