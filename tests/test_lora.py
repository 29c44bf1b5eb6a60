"""LoRA in every spelling changes networks as the development oracle changes them."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from nodes.load import load_unet
from nodes.lora import apply_lora, load_lora
from nodes.models.packed import Packed
from nodes.text import load_text_encoder
from nodes.weights import unet_names

CPU = torch.device("cpu")
META = torch.device("meta")
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
TEXT = ("q_proj", "k_proj", "v_proj", "out_proj")


@pytest.fixture(scope="module")
def peft():
    return pytest.importorskip("peft", reason="the oracle needs peft for LoRA")


@pytest.fixture
def pipeline(peft, tiny_stable_diffusion):
    from diffusers import StableDiffusionPipeline

    return StableDiffusionPipeline.from_pretrained(tiny_stable_diffusion).to(torch.float32)


@pytest.fixture
def pipeline_xl(peft, tiny_sdxl):
    from diffusers import StableDiffusionXLPipeline

    return StableDiffusionXLPipeline.from_pretrained(tiny_sdxl[1])


def layers(network, endings):
    """List the linear layers and convolutions whose names end so, with the shapes of their weights."""
    return {
        name: tuple(module.weight.shape)
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d | Packed) and name.endswith(endings)
    }


def low_rank(shape, rank, core=False):
    """Draw the pieces of one layer: `up` and `down`, and a core between them."""
    outputs, inputs, *kernel = shape
    scale = 0.3 / rank**0.5
    if core:
        return {
            "up": scale * torch.randn(outputs, rank, 1, 1),
            "mid": torch.randn(rank, rank, *kernel),
            "down": scale * torch.randn(rank, inputs, 1, 1),
        }
    ones = [1] * len(kernel)
    return {
        "up": scale * torch.randn(outputs, rank, *ones),
        "down": scale * torch.randn(rank, inputs, *kernel),
    }


def as_peft(part, layer, pieces):
    return {
        f"{part}.{layer}.lora_A.weight": pieces["down"],
        f"{part}.{layer}.lora_B.weight": pieces["up"],
    }


def as_old_diffusers(part, layer, pieces):
    attention, name = layer.replace("to_out.0", "to_out").rsplit(".", 1)
    name = {"q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "out_proj": "to_out"}.get(
        name, name
    )
    within = f"{part}.{attention}" + (".processor" if part == "unet" else "")
    return {f"{within}.{name}_lora.{end}.weight": pieces[end] for end in ("down", "up")}


def as_kohya(part, layer, pieces, alpha=2.0):
    prefix = {"unet": "lora_unet", "text_encoder": "lora_te", "text_encoder_2": "lora_te2"}[part]
    stem = f"{prefix}_{layer.replace('.', '_')}"
    named = {f"{stem}.lora_{name}.weight": piece for name, piece in pieces.items()}
    return named | {f"{stem}.alpha": torch.tensor(alpha)}


def as_kohya_xl(part, layer, pieces):
    return {
        key.replace("lora_te_", "lora_te1_"): piece
        for key, piece in as_kohya(part, layer, pieces).items()
    }


def draw(write, part, shapes, rank=4, seed=0):
    torch.manual_seed(seed)
    tensors = {}
    for layer, shape in shapes.items():
        name = f"text_model.{layer.removeprefix('text_model.')}" if part != "unet" else layer
        tensors |= write(part, name, low_rank(shape, rank))
    return {name: piece.contiguous() for name, piece in tensors.items()}


def saved(path, tensors, **metadata):
    save_file(tensors, path, metadata=metadata or None)
    return str(path)


def ours(folder, part, loras, device=CPU):
    """Load a part of a checkpoint and change it by files with weights."""
    if part == "unet":
        network = load_unet(str(folder), device, torch.float32)
    else:
        network = load_text_encoder(str(folder), device, torch.float32, part)
    for file, weight in loras:
        network = apply_lora(network, load_lora(str(file), device), weight)
    return network


def predicted(network, width=32):
    torch.manual_seed(1)
    sample, text = torch.randn(2, 4, 16, 16), torch.randn(2, 7, width)
    with torch.no_grad():
        found = network(sample, torch.tensor(7), text)
    return getattr(found, "sample", found)


def read(clip):
    tokens = torch.arange(2, 26).reshape(2, 12)
    with torch.no_grad():
        return clip(tokens, output_hidden_states=True).hidden_states[-2]


UNET_DIALECTS = {
    "peft, every kind of layer": (
        as_peft, (*ATTENTION, "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2")),
    "diffusers before peft": (as_old_diffusers, ATTENTION),
    "kohya": (as_kohya, (*ATTENTION, "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2")),
    "kohya, convolutions too": (as_kohya, (*ATTENTION, "conv1", "conv2", "conv_shortcut",
                                           "time_emb_proj", "samplers.0.conv")),
}  # fmt: skip


@pytest.mark.parametrize(("write", "endings"), UNET_DIALECTS.values(), ids=UNET_DIALECTS)
def test_a_unet_predicts_as_the_oracles(
    pipeline, tiny_stable_diffusion, tmp_path, write, endings, relative
):
    file = saved(tmp_path / "a.safetensors", draw(write, "unet", layers(pipeline.unet, endings)))
    before = predicted(pipeline.unet)
    pipeline.load_lora_weights(file, adapter_name="a")
    pipeline.set_adapters(["a"], [0.7])
    expected = predicted(pipeline.unet)
    found = predicted(ours(tiny_stable_diffusion, "unet", [(file, 0.7)]))
    assert relative(before, expected) > 1e-2  # it changes something
    assert relative(found, expected) <= 1e-4
