"""Whole graphs against the development oracle's pipelines, from the same starting noise."""

from pathlib import Path

import pytest
import torch
from diffusers import (
    DDPMPipeline,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    UNet2DModel,
    UniPCMultistepScheduler,
)

import nodes
from graph import load, node_type
from runtime import Session

pytestmark = pytest.mark.slow  # whole runs

EMOJI = Path(__file__).parent.parent / "graphs" / "checkpoints" / "emoji-64"
PROMPT = "two strawberries on a blue background"
SWAPS = {
    "pndm": PNDMScheduler,
    "unipc": UniPCMultistepScheduler,
    "dpmpp_2m": DPMSolverMultistepScheduler,
}

assert nodes.__all__  # importing registers the node types


def oracle(folder: Path) -> StableDiffusionPipeline:
    pipeline = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize(
    "width",
    ["tiny_stable_diffusion", pytest.param("full_stable_diffusion", marks=pytest.mark.slow)],
)
def test_single_calls(width, request, relative):
    folder = request.getfixturevalue(width)
    theirs = oracle(folder)
    machine = {"device": torch.device("cpu"), "dtype": torch.float32}

    def call(node, *arguments, **options):
        return node_type(node).function(*arguments, **options)

    tokenizer, encoder = (
        call("load_tokenizer", str(folder)),
        call("load_text_encoder", str(folder), **machine),
    )
    text = call(
        "encode_text", encoder, call("tokenize", tokenizer, [PROMPT, ""], machine["device"])
    )
    expected = torch.cat(theirs.encode_prompt(PROMPT, "cpu", 1, True, negative_prompt=""))
    assert relative(text, expected) <= 1e-5

    generator = torch.Generator().manual_seed(3)
    sample, timestep = torch.randn(2, 4, 8, 8, generator=generator), torch.tensor(601.0)
    unet, vae = call("load_unet", str(folder), **machine), call("load_vae", str(folder), **machine)
    with torch.no_grad():
        expected = theirs.unet(sample, timestep, expected).sample
        assert relative(call("unet", unet, sample, timestep, text), expected) <= 1e-5
        expected = theirs.vae.decode(sample / theirs.vae.config.scaling_factor).sample
        expected = (expected / 2 + 0.5).clamp(0, 1)
        assert relative(call("vae_decode", vae, sample), expected) <= 1e-5


@pytest.mark.parametrize("scheduler", SWAPS)
def test_the_guided_loop(tiny_stable_diffusion, tmp_path, relative, scheduler):
    difference = _whole_loop(tiny_stable_diffusion, tmp_path, scheduler, relative, (128, 96))
    assert difference <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["pndm", "unipc"])
def test_the_guided_loop_at_full_width(full_stable_diffusion, tmp_path, relative, scheduler):
    assert _whole_loop(full_stable_diffusion, tmp_path, scheduler, relative, (64, 64)) <= 1e-4


def _whole_loop(folder, tmp_path, scheduler, relative, size) -> float:
    width, height = size
    theirs = oracle(folder)
    theirs.scheduler = SWAPS[scheduler].from_config(theirs.scheduler.config)
    expected = theirs(
        PROMPT, num_inference_steps=10, guidance_scale=7.5, width=width, height=height,
        generator=torch.Generator().manual_seed(7), output_type="pt",
    ).images  # fmt: skip
    outputs = Session("cpu", "float32")(
        load("sd15"), model=str(folder), prompt=PROMPT, steps=10, guidance_scale=7.5, seed=7,
        width=width, height=height, scheduler=scheduler, output=str(tmp_path / "picture.png"),
    )  # fmt: skip
    return relative(outputs["image"], expected)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(128, 128), (96, 160)], ids=str)
def test_sdxl(tiny_sdxl, tmp_path, relative, size):
    theirs, folder = tiny_sdxl
    width, height = size
    expected = theirs(
        PROMPT, num_inference_steps=8, guidance_scale=5.0, width=width, height=height,
        generator=torch.Generator().manual_seed(7), output_type="pt",
    ).images  # fmt: skip
    outputs = Session("cpu", "float32")(
        load("sdxl"), model=folder, prompt=PROMPT, steps=8, seed=7, width=width, height=height,
        output=str(tmp_path / "picture.png"),
    )  # fmt: skip
    assert relative(outputs["image"], expected) <= 1e-4


def test_the_unconditional_loop(tiny_ddpm, tmp_path, relative):
    unet, scheduler = (
        UNet2DModel.from_pretrained(tiny_ddpm),
        DDPMScheduler.from_pretrained(tiny_ddpm),
    )
    theirs = DDPMPipeline(unet, scheduler)
    theirs.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(5)
    pictures = theirs(num_inference_steps=10, generator=generator, output_type="np").images
    expected = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    outputs = Session("cpu", "float32")(
        load("ddpm"), model=str(tiny_ddpm), steps=10, seed=5, output=str(tmp_path / "picture.png")
    )
    assert relative(outputs["image"], expected) <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scheduler", "steps"), [("auto", 20), ("pndm", 20), ("unipc", 20), ("pndm", 10)]
)
def test_the_oracle_draws_the_same_emoji(tmp_path, scheduler, steps):
    theirs = oracle(EMOJI)
    if scheduler != "auto":
        theirs.scheduler = SWAPS[scheduler].from_config(theirs.scheduler.config)
    expected = theirs(
        PROMPT, num_inference_steps=steps, guidance_scale=3.0,
        generator=torch.Generator().manual_seed(1), output_type="pt",
    ).images  # fmt: skip
    outputs = Session("cpu", "float32")(
        load("emoji"), prompt=PROMPT, steps=steps, seed=1, scheduler=scheduler,
        output=str(tmp_path / "emoji.png"),
    )  # fmt: skip
    difference = (outputs["image"] - expected).abs().max().item()
    print(f"largest difference {255 * difference:.4f} / 255")
    assert difference <= 1 / 255


def test_a_picture_of_several_is_what_its_seed_gives_alone(tmp_path):
    def run(**inputs):
        output = str(tmp_path / "emoji.png")
        return Session("cpu", "float32")(load("emoji"), steps=3, output=output, **inputs)["image"]

    # Batching changes the low bits of a convolution: the pictures agree, the bits do not.
    torch.testing.assert_close(run(seed=4, count=3)[2:], run(seed=6), rtol=0, atol=1e-4)
