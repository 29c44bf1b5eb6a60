"""A lock, and what it refuses."""

import argparse
import json
import re
import shutil
import sys
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import pytest
from PIL import Image as Picture
from safetensors.torch import load_file, save_file

import nodes
from graph import Literal, load, node_types
from runtime.cli import main
from runtime.cli.worker import make_job
from runtime.content import versions
from runtime.provenance.lock import Lock, LockedFile, pinned

EMOJI = Path(__file__).parent.parent / "graphs" / "checkpoints" / "emoji-32"
RUN = ["ddpm", "model=mine", "steps=1", "output=a.png"]

assert nodes.__all__


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
    lock = Lock(graph={}, nodes={}, versions={}, files=[fact], free=[])
    graph = pinned(load("sd15"), lock.commits)
    calls = {block.name: block for block in graph.blocks}
    assert calls["unet"].arguments["revision"] == Literal("c0ffee")
    assert "revision" not in calls["vae"].arguments


OWN = """
from colours import BRIGHT
from graph import node
from nodes.kinds import Image

@node
def brighten(image: Image, by: float = 1.0) -> Image:
    'Brighten.'
    return image * by * BRIGHT
"""
MINE = """
inputs: {by: 1.5, output: a.png}
nodes:
  loaded: {node: load_image, path: in.png}
  bright: {node: brighten, image: $loaded, by: $by}
  saved: {node: save_image, image: $bright, path: $output}
"""


@pytest.fixture
def mine(here, monkeypatch, capsys):
    """A locked graph with a node of its own, which imports a file beside it and a library."""
    Picture.new("RGB", (8, 8)).save("in.png")
    monkeypatch.syspath_prepend(here)
    monkeypatch.setattr(node_types(), "own", dict(node_types()))
    (here / "colours.py").write_text("import scipy\nBRIGHT = 1\n")
    (here / "mine_nodes.py").write_text(OWN)
    (here / "mine.yaml").write_text(MINE)
    assert main(["lock", "mine.yaml", "--nodes", "mine_nodes.py"]) == 0
    yield here
    sys.modules.pop("colours")


def refused(capsys, *words):
    capsys.readouterr()
    assert main(["mine.yaml", "--lock", "mine.lock.json", "--nodes", "mine_nodes.py", *words]) == 2
    return capsys.readouterr().err


def test_inputs_are_free_and_all_else_is_written_down(mine):
    lock = json.loads((mine / "mine.lock.json").read_text())
    assert lock["graph"] == {
        "input by": "1.5", "input output": "'a.png'",
        "loaded": "load_image", "loaded.path": "'in.png'",
        "bright": "brighten", "bright.image": "$loaded", "bright.by": "$by",
        "saved": "save_image", "saved.image": "$bright", "saved.path": "$output",
    }  # fmt: skip
    assert list(lock["nodes"]) == ["brighten"]
    assert lock["versions"] == {"scipy": version("scipy")}
    assert main(["mine.yaml", "--lock", "mine.lock.json", "--nodes", "mine_nodes.py", "by=2"]) == 0


def test_a_graph_that_was_edited_is_refused(mine, capsys):
    edited = MINE.replace("by: 1.5", "by: 2").replace(", by: $by", "").replace("by: 2, ", "")
    (mine / "mine.yaml").write_text(edited)
    assert refused(capsys) == (
        "error: the graph was edited since it was locked: input by: was 1.5, is gone\n"
        "error: the graph was edited since it was locked: bright.by: was $by, is gone\n"
    )
    (mine / "mine.yaml").write_text("# Mine." + MINE.replace("{", "{ "))
    assert main(["mine.yaml", "--lock", "mine.lock.json", "--nodes", "mine_nodes.py"]) == 0


@pytest.mark.parametrize("file", ["mine_nodes.py", "colours.py"])
def test_a_node_whose_code_was_changed_is_refused(mine, capsys, file):
    before = json.loads((mine / "mine.lock.json").read_text())["nodes"]["brighten"]
    with (mine / file).open("a") as code:
        code.write("# changed\n")
    versions._made_of.cache_clear()
    said = refused(capsys)
    found = re.fullmatch(
        "error: the code of a node was changed since it was locked: "
        rf"brighten: was {before}, is [0-9a-f]{{64}}\n",
        said,
    )
    assert found, said


def test_another_version_of_what_a_node_needs_is_refused(mine, capsys, monkeypatch):
    monkeypatch.setattr(versions, "version", lambda _: "0.1")
    assert refused(capsys) == (
        f"error: a library was changed since it was locked: scipy: was {version('scipy')}, is 0.1\n"
    )


def test_every_row_of_a_sweep_is_held_to_the_lock(here, capsys):
    """What a row reads is looked at, not what the graph would read by itself."""
    assert main(["lock", "ddpm", "model=mine"]) == 0
    sweep = ["ddpm", "steps=1", "--lock", "ddpm.lock.json", "--out", "rows"]
    assert main([*sweep, "--grid", "model=mine", "seed=0..1"]) == 0
    shutil.copytree("mine", "other")
    (here / "other" / "config.json").write_text((here / "mine" / "config.json").read_text() + " ")
    capsys.readouterr()
    assert main([*sweep, "--grid", "model=mine,other", "seed=2"]) == 2
    before, after = (
        sha256((here / name / "config.json").read_bytes()).hexdigest() for name in ("mine", "other")
    )
    assert capsys.readouterr().err == (
        f"error: 'unet' reads config.json of SHA-256 {after}, and the lock has {before}\n"
    )
    assert len(list((here / "rows").glob("*/row.json"))) == 2


def test_workers_read_what_a_lock_pins(here):
    load_nodes = argparse.Namespace(device="cpu", dtype="float32", memory="auto", compile=False, nodes=[], offline=True)  # fmt: skip
    job = make_job(load_nodes, [load("sd15")], watched=False, commits={"unet": "c0ffee"})
    calls = {block.name: block for block in job(0).graphs["sd15"].blocks}
    assert calls["unet"].arguments["revision"] == Literal("c0ffee")
    assert "revision" not in calls["vae"].arguments


def test_a_lock_that_cannot_be_written_is_told(here, capsys):
    (here / "ddpm.lock.json").mkdir()
    assert main(["lock", "ddpm", "model=mine"]) == 2
    assert capsys.readouterr().err == "error: 'ddpm.lock.json' cannot be written: Is a directory\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "'no.json' is no lock: graph: Field required"),
        ("[", "'no.json' is no lock: the file: Invalid JSON: EOF while parsing a list at line 1 column 1"),
        (None, "'no.json': No such file or directory"),
    ],
)  # fmt: skip
def test_what_is_no_lock_is_refused(here, capsys, text, said):
    if text is not None:
        (here / "no.json").write_text(text)
    assert main([*RUN, "--lock", "no.json"]) == 2
    help = "\n  help: write it anew: run-graph lock GRAPH" if text else ""
    assert capsys.readouterr().err == f"error: --lock: {said}{help}\n"
