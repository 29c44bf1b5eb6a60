"""What ends a run from outside: kills, Ctrl-C, a full disk. Nothing that was finished is lost."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image as Picture

from nodes.metadata import pixel_digest, read_record

ROOT = Path(__file__).parent.parent
COMMAND = [sys.executable, "-m", "runtime.cli"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
pytestmark = pytest.mark.slow


def begin(folder, *words, command=COMMAND):
    return subprocess.Popen(
        [*command, *words], cwd=folder, env=ENVIRONMENT, text=True, stderr=subprocess.PIPE
    )


def pixels(file):
    with Picture.open(file) as picture:
        return picture.tobytes()


# The command, which is sent a signal just before it opens or renames a part of a checkpoint.
ENDED = """
import os, runpy, sys

number, left = int(sys.argv[1]), int(sys.argv[2])

def watch(event, given):
    global left
    if event in ("open", "os.rename") and str(given[0]).endswith(".part.checkpoint"):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), number)

sys.addaudithook(watch)
sys.argv[:3] = ["run-graph"]
runpy.run_module("runtime.cli", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    "words",
    [
        ["ddpm", "model=emoji-32"],
        ["sd15", "model=emoji-64", "prompt=a fox", "scheduler=euler_ancestral"],
    ],
)
def test_who_is_killed_again_and_again_ends_with_the_same_picture(tmp_path, words):
    words = [*words, "steps=8"]
    whole = begin(tmp_path, *words, "output=whole.png")
    whole.communicate()
    assert whole.returncode == 0
    checkpoint = tmp_path / f"{words[0]}.checkpoint"
    words = [*words, "output=rest.png", "--checkpoint-every", "1"]
    for number, left in ((signal.SIGKILL, 5), (signal.SIGINT, 2), (signal.SIGKILL, 4)):
        process = begin(
            tmp_path, *words, command=[sys.executable, "-c", ENDED, f"{number}", f"{left}"]
        )
        _, said = process.communicate()
        assert process.returncode == (130 if number == signal.SIGINT else -number), said
        assert checkpoint.exists()
        assert not list(tmp_path.glob("rest*.png"))
        if number == signal.SIGINT:
            assert re.search(
                rf"^interrupted after step 3 of 8 of 'denoise'\n"
                rf"run-graph resume {checkpoint.name}    # goes on from there$",
                said, re.MULTILINE,
            ), said  # fmt: skip
        words = ["resume", checkpoint.name]
    process = begin(tmp_path, *words)
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert not checkpoint.exists()
    made = sorted(tmp_path.glob("rest*.png"))
    assert made
    for file in made:
        assert pixels(file) == pixels(str(file).replace("rest", "whole"))


def on_a_small_disk(kilobytes, folder, *words):
    """Run a command in a folder that is a disk of its own, and then list what is in there."""
    script = (
        f"mount -t tmpfs -o size={kilobytes}k disk {folder} && cd {folder} && "
        '"$@"; code=$?; cp -a . ../after; exit $code'
    )
    apart = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if not shutil.which("unshare") or subprocess.run([*apart, "mount -t tmpfs x /mnt"]).returncode:
        pytest.skip("no disk can be mounted here")
    return subprocess.run(
        [*apart, script, "sh", *COMMAND, *words], env=ENVIRONMENT, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def test_a_full_disk_ends_no_run_and_loses_no_picture(tmp_path):
    (tmp_path / "disk").mkdir()
    done = on_a_small_disk(
        60, tmp_path / "disk",
        "ddpm", "model=emoji-32", "steps=2", "count=8", "output=a.png", "--checkpoint-every", "1",
    )  # fmt: skip
    print(done.stdout, done.stderr)
    assert done.returncode == 1
    assert "ddpm.checkpoint cannot be written: [Errno 28] No space left on device" in done.stderr
    assert "No space left on device; what was made is in /" in done.stderr
    elsewhere = re.search(r"what was made is in (.*)", done.stderr)[1].split(", ")
    here = sorted((tmp_path / "after").iterdir())
    assert 1 <= len(here) < 8
    assert len(here) + len(elsewhere) == 8
    for file in (*here, *map(Path, elsewhere)):
        with Picture.open(file) as picture:
            assert pixel_digest([picture]) == read_record(file)["pixels"]
    shutil.rmtree(Path(elsewhere[0]).parent)


def test_a_sweep_on_a_full_disk_keeps_its_rows(tmp_path):
    (tmp_path / "disk").mkdir()
    done = on_a_small_disk(
        60, tmp_path / "disk", "ddpm", "model=emoji-32", "steps=1", "--grid", "seed=0..9"
    )
    print(done.stdout, done.stderr)
    assert done.returncode == 1
    assert re.search(
        r"No space left on device.*; the rows that are done stay in ddpm-sweep", done.stderr
    )
    rows = list((tmp_path / "after" / "ddpm-sweep").iterdir())
    assert 1 <= len(rows) < 10
    for row in rows:
        with Picture.open(row / "ddpm.png") as picture:
            assert pixel_digest([picture]) == read_record(row / "ddpm.png")["pixels"]
