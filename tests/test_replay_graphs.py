"""Every shipped graph that fits an embedded checkpoint is replayed, elsewhere and by another process."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image as Picture
from safetensors.torch import save_file

import nodes
from graph import load, shipped_graphs, written_inputs, written_values
from runtime.cli import main

ROOT = Path(__file__).parent.parent
LAYER = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
CHECKPOINTS = "emoji-64", "emoji-32"
# What inputs of these names are given; where a model is asked for, the checkpoint; else a prompt.
GIVEN = {
    "steps": "3", "image": "in.png", "mask": "in.png", "images": "[]", "controlnets": "[]",
    "loras": "[ink.safetensors]", "weights": "[0.5]", "learned": "sun.safetensors",
}  # fmt: skip
assert nodes.__all__


def inputs_for(name, checkpoint):
    graph = load(name)
    for output in written_inputs(graph):
        yield f"{output}={name}@{graph.inputs[output].default}"
    for key, entry in graph.inputs.items():
        if key in GIVEN:
            yield f"{key}={GIVEN[key]}"
        elif isinstance(entry.default, str) and "/" in entry.default:
            yield f"{key}={checkpoint}"
        elif entry.required:
            yield f"{key}=a <sun>"


@pytest.fixture
def here(tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    Picture.linear_gradient("L").resize((64, 64)).save("in.png")
    torch.manual_seed(0)
    pieces = {"lora_A": torch.randn(4, 96), "lora_B": torch.randn(96, 4)}
    save_file({f"{LAYER}.{name}.weight": it for name, it in pieces.items()}, "ink.safetensors")
    save_file({"<sun>": torch.randn(128)}, "sun.safetensors")
    return here


@pytest.mark.slow
def test_whatever_the_check_lets_through_is_made_again_bit_for_bit(here, tmp_path):
    made = {}
    for name in shipped_graphs():
        if not list(written_values(load(name).blocks)):
            continue  # a part of others
        runs = [[name, *inputs_for(name, checkpoint), "--offline"] for checkpoint in CHECKPOINTS]
        words = next((words for words in runs if main(["check", *words]) == 0), None)
        if words:
            assert main(words) == 0
            made[name] = sorted(file.name for file in here.glob(f"{name}@*"))
    print(made)
    assert len(made) >= 20
    assert all(made.values())
    there = tmp_path / "there"
    shutil.move(here, there)
    script = "import sys; from runtime.cli import main; sys.exit(max(main(['replay', it]) for it in sys.argv[1:]))"
    files = [name for names in made.values() for name in names[-2:]]
    done = subprocess.run(
        [sys.executable, "-c", script, *files],
        cwd=there, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines() == [f"{file}: made again, bit-equal" for file in files], (
        done.stderr
    )
    assert done.returncode == 0
