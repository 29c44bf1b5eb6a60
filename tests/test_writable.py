"""A picture is not made where it cannot be saved, nor lost where saving fails."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image as Picture

import nodes
from graph import load_text
from nodes.image import save_image
from runtime import NodeStarted, RunError, Session

ROOT = Path(__file__).parent.parent
GRAPH = """
inputs: {path: out.png}
nodes:
  loaded: {node: load_image, path: in.png}
  saved: {node: save_image, image: $loaded, path: $path}
"""
assert nodes.__all__


@pytest.mark.parametrize(
    ("path", "why"),
    [("in.png/x/out.png", "in.png is no folder"), ("folder.png", "folder.png is a folder")],
)
def test_a_place_that_cannot_be_written_to_is_told_before_anything_runs(tmp_path, path, why):
    Picture.new("RGB", (8, 8)).save(tmp_path / "in.png")
    (tmp_path / "folder.png").mkdir()
    called = []
    session = Session("cpu", "float32", lambda event: called.append(event))
    text = GRAPH.replace("in.png", str(tmp_path / "in.png"))
    with pytest.raises(
        RunError, match=r"'saved' cannot write its `path` '.*': .*" + re.escape(why)
    ):
        session(load_text(text), path=str(tmp_path / path))
    assert not any(isinstance(event, NodeStarted) for event in called)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write_is_told_before_anything_runs(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(RunError, match="may not be written to"):
        Session("cpu", "float32")(load_text(GRAPH), path=str(tmp_path / "out.png"))


def test_a_picture_that_does_not_fit_on_the_disk_is_put_elsewhere(tmp_path, monkeypatch):
    replace = os.replace

    def full(source, target):
        if Path(target).parent == tmp_path:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left on device; what was made is in ") as found:
        save_image(torch.full((1, 3, 8, 8), 0.5), str(tmp_path / "out.png"))
    with Picture.open(str(found.value).rpartition(" ")[2]) as picture:
        assert picture.getpixel((0, 0)) == (128, 128, 128)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_who_is_killed_while_saving_leaves_no_half_picture(tmp_path):
    code = (
        "import os, signal, pathlib\nfrom graph import write_whole\n"
        "def half(part):\n"
        "    part.write_bytes(b'half'); os.kill(os.getpid(), signal.SIGKILL)\n"
        f"write_whole(pathlib.Path({str(tmp_path / 'out.png')!r}), half)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "out.png").exists()
