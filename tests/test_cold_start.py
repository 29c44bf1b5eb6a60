"""What a process that makes one picture must not wait for."""

import json
import subprocess
import sys

import pytest
import torch
from torch import nn

from nodes.models import AutoencoderKL, CLIPTextModel, Skeleton, UNet2DConditionModel, UNet2DModel
from tests.conftest import EMOJI, ROOT
from tests.published_configs import UNETS

# Seconds each: the oracle, the hub's library, PyTorch's compiler and what it brings.
HEAVY = {"transformers", "diffusers", "huggingface_hub", "torch._dynamo", "sympy", "scipy"}
RUN = """
import json, sys
from runtime.cli import command
sys.argv[1:] = ["emoji", "steps=1", "prompt=a fox", "output=x.png"]
try:
    command()
except SystemExit as ended:
    print(json.dumps([ended.code, sorted(sys.modules)]))
"""


def test_a_picture_of_a_local_checkpoint_needs_no_heavy_library(tmp_path):
    environment = {
        "PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", RUN], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == 0, done.stderr
    assert (tmp_path / "x.png").exists()
    assert HEAVY & set(modules) == set()


def config_of(part):
    return json.loads((EMOJI / part / "config.json").read_text())


@pytest.mark.parametrize(
    "build",
    [
        lambda: UNet2DConditionModel.from_config(UNETS["sdxl"]),
        lambda: AutoencoderKL.from_config(config_of("vae")),
        lambda: CLIPTextModel.from_config(config_of("text_encoder")),
        lambda: UNet2DModel.from_config(
            {
                "sample_size": 8, "in_channels": 3, "out_channels": 3, "block_out_channels": [32],
                "down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"],
                "time_embedding_type": "fourier", "layers_per_block": 1,
            }
        ),
    ],
    ids=["unet", "autoencoder", "text encoder", "random frequencies"],
)  # fmt: skip
def test_a_skeleton_is_the_network_without_its_weights(build):
    state = torch.get_rng_state()
    with Skeleton():
        found = build()
    assert all(parameter.is_meta for parameter in found.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    with torch.device("meta"):
        expected = build()
    assert [(name, it.shape, it.dtype) for name, it in found.named_parameters()] == [
        (name, it.shape, it.dtype) for name, it in expected.named_parameters()
    ]
    assert not nn.Linear(1, 1).weight.is_meta
