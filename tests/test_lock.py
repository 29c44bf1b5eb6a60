"""A lock, and what it refuses."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image as Picture
from safetensors.torch import load_file, save_file

from graph import Literal, load
from runtime.cli import main
from runtime.provenance.lock import Lock, LockedFile, pinned

EMOJI = Path(__file__).parent.parent / "graphs" / "checkpoints" / "emoji-32"
RUN = ["ddpm", "model=mine", "steps=1", "output=a.png"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(EMOJI, "mine")
    return tmp_path


def test_a_locked_graph_runs_with_its_files_and_with_no_others(here, capsys):
    assert main(["lock", "ddpm", "model=mine"]) == 0
    assert "ddpm.lock.json: " in capsys.readouterr().out
    lock = json.loads((here / "ddpm.lock.json").read_text())
    assert {fact["file"] for fact in lock["files"]} == {
        "config.json", "diffusion_pytorch_model.safetensors", "scheduler_config.json",
    }  # fmt: skip
    assert str(here) not in json.dumps(lock)
    assert main([*RUN, "--lock", "ddpm.lock.json"]) == 0
    (here / "a.png").unlink()
    weights = here / "mine" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    tensors["conv_out.bias"] += 1
    save_file(tensors, weights)
    capsys.readouterr()
    assert main([*RUN, "--lock", "ddpm.lock.json"]) == 2
    said = capsys.readouterr().err
    assert "'unet' reads diffusion_pytorch_model.safetensors of SHA-256 " in said
    assert ", and the lock has " in said
    assert not (here / "a.png").exists()


def test_what_was_not_given_when_it_was_locked_is_free(here, capsys):
    Picture.new("RGB", (64, 64)).save("in.png")
    assert main(["lock", "img2img", "model=emoji-64"]) == 0
    lock = Lock.model_validate_json((here / "img2img.lock.json").read_text())
    assert lock.free == ["loaded"]


def test_a_lock_pins_repositories_to_commits():
    fact = LockedFile(block="unet", file="a", sha256="", bytes=1, repository="x/y", commit="c0ffee")
    graph = pinned(load("sd15"), Lock(files=[fact], free=[]))
    calls = {block.name: block for block in graph.blocks}
    assert calls["unet"].arguments["revision"] == Literal("c0ffee")
    assert "revision" not in calls["vae"].arguments


def test_what_is_no_lock_is_refused(here, capsys):
    (here / "no.json").write_text("{}")
    assert main([*RUN, "--lock", "no.json"]) == 2
    assert "no.json is no lock: " in capsys.readouterr().err
