"""Graphs for kinds of checkpoints, and for two at once, against the oracle's pipelines."""

from pathlib import Path

import diffusers
import pytest
import torch
from diffusers.utils import logging
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

import nodes
from graph import load
from runtime import Session
from tests.published_configs import UNETS, reduced

pytestmark = pytest.mark.slow  # whole runs

EMOJI = Path(nodes.__file__).parent.parent / "graphs" / "checkpoints" / "emoji-64"
PROMPT = "two strawberries on a blue background"
ALPHAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


@pytest.fixture(autouse=True)
def quiet():
    logging.set_verbosity_error()


def run(name, folder, tmp_path, **inputs):
    session = Session("cpu", "float32")
    output = str(tmp_path / "out.png")
    return session(load(name), model=str(folder), prompt=PROMPT, output=output, **inputs)["image"]


def drawn(pipeline, output_type="pt", **options):
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(7)
    return pipeline(PROMPT, generator=generator, output_type=output_type, **options).images


@pytest.fixture(scope="module")
def refiner(tiny_sdxl, tmp_path_factory):
    """Write the refiner of the tiny SDXL: the second text encoder alone, a score in place of a size."""
    base, _ = tiny_sdxl
    torch.manual_seed(1)
    unet = diffusers.UNet2DConditionModel(**reduced(UNETS["sdxl refiner"]) | {"sample_size": 16})
    shared = {name: base.components[name] for name in ("vae", "text_encoder_2", "tokenizer_2")}
    scheduler = diffusers.EulerDiscreteScheduler.from_config(base.scheduler.config)
    pipeline = diffusers.StableDiffusionXLImg2ImgPipeline(
        **shared, text_encoder=None, tokenizer=None, unet=unet, scheduler=scheduler,
        requires_aesthetics_score=True, force_zeros_for_empty_prompt=False,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("tiny-refiner")
    pipeline.save_pretrained(folder)
    return pipeline, str(folder)


@pytest.mark.slow
def test_base_and_refiner(tiny_sdxl, refiner, tmp_path, relative):
    (base, folder), (last, folder_of_last) = tiny_sdxl, refiner
    half = drawn(base, num_inference_steps=5, denoising_end=0.6, output_type="latent", width=64, height=64)  # fmt: skip
    told = {"num_inference_steps": 5, "guidance_scale": 5.0}
    expected = drawn(last, image=half, denoising_start=0.6, **told)
    found = run(
        "sdxl-base-refiner", folder, tmp_path, refiner=folder_of_last, switch=0.6, steps=5, seed=7,
        width=64, height=64,
    )  # fmt: skip
    assert relative(found, expected) <= 1e-4


@pytest.mark.slow
def test_a_network_that_predicts_a_velocity(tiny_stable_diffusion, tmp_path, relative):
    parts = diffusers.StableDiffusionPipeline.from_pretrained(tiny_stable_diffusion).components
    # As in the published checkpoint: other activation, padded with an exclamation mark.
    tokenizer = CLIPTokenizer.from_pretrained(EMOJI / "tokenizer", pad_token="!")
    torch.manual_seed(0)
    text = CLIPTextConfig(
        vocab_size=len(tokenizer), max_position_embeddings=32, hidden_size=24, hidden_act="gelu",
        intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    unet = reduced(UNETS["stable diffusion 2 v"]) | {"sample_size": 8}
    theirs = diffusers.StableDiffusionPipeline(
        vae=parts["vae"], unet=diffusers.UNet2DConditionModel(**unet), tokenizer=tokenizer,
        text_encoder=CLIPTextModel(text).eval(), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
        scheduler=diffusers.DDIMScheduler(
            **ALPHAS, clip_sample=False, set_alpha_to_one=False, steps_offset=1,
            prediction_type="v_prediction",
        ),
    )  # fmt: skip
    theirs.save_pretrained(tmp_path / "sd2")
    expected = drawn(theirs, num_inference_steps=5)
    found = run("sd21-v", tmp_path / "sd2", tmp_path, steps=5, seed=7)
    assert relative(found, expected) <= 1e-4


def test_a_latent_consistency_model(tiny_stable_diffusion, tmp_path, relative):
    parts = diffusers.StableDiffusionPipeline.from_pretrained(tiny_stable_diffusion).components
    torch.manual_seed(0)
    unet = dict(parts["unet"].config) | {"time_cond_proj_dim": 16, "sample_size": 8}
    shared = {name: parts[name] for name in ("vae", "text_encoder", "tokenizer")}
    theirs = diffusers.LatentConsistencyModelPipeline(
        **shared, unet=diffusers.UNet2DConditionModel.from_config(unet),
        scheduler=diffusers.LCMScheduler(**ALPHAS, clip_sample=False, set_alpha_to_one=True),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    theirs.save_pretrained(tmp_path / "lcm")
    expected = drawn(theirs, num_inference_steps=4, guidance_scale=6.0)
    found = run("lcm", tmp_path / "lcm", tmp_path, steps=4, guidance_scale=6.0, seed=7)
    assert relative(found, expected) <= 1e-4


def test_turbo(tiny_sdxl, tmp_path, relative):
    base, _ = tiny_sdxl
    scheduler = diffusers.EulerAncestralDiscreteScheduler(**ALPHAS, timestep_spacing="trailing")
    theirs = diffusers.StableDiffusionXLPipeline(**{**base.components, "scheduler": scheduler})
    theirs.save_pretrained(tmp_path / "turbo")
    expected = drawn(theirs, num_inference_steps=3, guidance_scale=0.0, width=64, height=64)
    found = run("turbo", tmp_path / "turbo", tmp_path, steps=3, seed=7, width=64, height=64)
    assert relative(found, expected) <= 1e-4


@pytest.mark.parametrize("scheduler", ["unipc", "euler_ancestral"])
def test_a_model_that_takes_over_from_itself_is_one_model(tmp_path, relative, scheduler):
    inputs = {"steps": 5, "seed": 3, "scheduler": scheduler, "guidance_scale": 3.0}
    whole = run("sd15", "emoji-64", tmp_path, **inputs)
    halves = run("two-models", "emoji-64", tmp_path, second="emoji-64", switch=0.4, **inputs)
    assert torch.equal(whole, halves)


@pytest.mark.slow
def test_the_second_model_takes_over(tiny_stable_diffusion, tmp_path, relative):
    inputs = {"steps": 3, "width": 64, "height": 64}
    whole = run("sd15", tiny_stable_diffusion, tmp_path, **inputs)
    other = run("two-models", tiny_stable_diffusion, tmp_path, second="emoji-64", **inputs)
    assert relative(other, whole) > 1e-2
