"""What `run-graph inspect` says of checkpoints."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

from nodes.convert import convert
from nodes.inspect import inspect_checkpoint
from nodes.weights import known_families
from runtime.cli import main

EMOJI = """\
emoji-64: folder
  family       none that is known
  pipeline     StableDiffusionPipeline
  scheduler    DDIMScheduler
  prediction   v_prediction
  native size  64×64
  text_encoder    CLIPTextModel                508 k parameters, 1.02 MB, float16
  unet            UNet2DConditionModel         3.83 M parameters, 7.65 MB, float16
  vae             AutoencoderKL                682 k parameters, 1.36 MB, float16
"""


def test_a_folder_is_described(capsys):
    assert main(["inspect", "emoji-64"]) == 0
    assert capsys.readouterr().out == EMOJI


def test_a_single_file_is_described_as_its_folder(tmp_path, capsys):
    path = str(tmp_path / "one.safetensors")
    convert("emoji-64", tmp_path / "one.safetensors")
    folder, single = inspect_checkpoint("emoji-64"), inspect_checkpoint(path)
    assert single.pop("kind") == "single file"
    assert single.pop("left_out") == 0
    assert {**single, "path": "emoji-64", "kind": "folder"} == folder
    assert main(["inspect", path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["components"]["vae"]["precision"] == ["float16"]


def test_a_pixel_model_in_the_root_of_a_folder_is_described():
    report = inspect_checkpoint("emoji-32")
    assert (report["native_size"], report["scheduler"]) == (32, "DDPMScheduler")
    assert report["components"]["unet"]["class"] == "UNet2DModel"
    assert report["components"]["unet"]["parameters"] > 100_000


def configs_of(family, folder):
    for path, text in known_families()[family].files({}).items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(text)
    return str(folder)


def test_a_family_is_named_by_its_configs(tmp_path, capsys):
    assert main(["inspect", configs_of("sd2-base", tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "Stable Diffusion 2.x, 512 pixels (sd2-base)" in said
    assert "prediction   epsilon\n  native size  512×512" in said
    assert "its weights are not on this machine" in said


@pytest.mark.parametrize("family", known_families())
def test_every_family_is_found_again_in_its_configs(family, tmp_path):
    folder = tmp_path
    if family.startswith("controlnet"):
        text = known_families()[family].files({})["controlnet/config.json"]
        (folder / "config.json").write_text(text)
    else:
        configs_of(family, folder)
    assert inspect_checkpoint(str(folder))["families"][0] == family


def test_a_repository_is_described_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    commit = "0123456789012345678901234567890123456789"
    place = tmp_path / "models--someone--emoji"
    source = inspect_checkpoint("emoji-64")
    shutil.copytree("graphs/checkpoints/emoji-64", place / "snapshots" / commit)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit)
    report = inspect_checkpoint("someone/emoji")
    assert {**report, "path": "emoji-64", "kind": "folder"} == source
    assert report["kind"] == "repository"


@pytest.mark.parametrize(
    ("down", "up", "key", "texts"),
    [
        ("lora_down.weight", "lora_up.weight", "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k", "lora_te_text_model_encoder_layers_0_mlp_fc1"),
        ("lora_A.weight", "lora_B.weight", "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k", "text_encoder.text_model.encoder.layers.0.mlp.fc1"),
        ("down.weight", "up.weight", "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.processor.to_k_lora", "text_encoder.q_proj_lora"),
    ],
)  # fmt: skip
def test_a_lora_is_described(down, up, key, texts, tmp_path, capsys):
    tensors = {
        f"{name}.{half}": torch.zeros(8, 768) if half == down else torch.zeros(320, 8)
        for name in (key, texts)
        for half in (down, up)
    }
    save_file(tensors, tmp_path / "x.safetensors")
    report = inspect_checkpoint(str(tmp_path / "x.safetensors"))
    assert (report["kind"], report["ranks"]) == ("LoRA", [8])
    assert report["layers"] == {"unet": 1, "text_encoder": 1}
    assert report["base"] == "Stable Diffusion 1.x"
    assert main(["inspect", str(tmp_path / "x.safetensors")]) == 0
    assert "  rank         8\n  unet         1 layers\n" in capsys.readouterr().out


def test_what_is_not_there_is_told(tmp_path, capsys):
    assert main(["inspect", str(tmp_path)]) == 2
    assert "has neither model_index.json nor config.json" in capsys.readouterr().err
