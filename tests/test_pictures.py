"""Graphs that begin with a picture, against the development oracle's pipelines.

The oracle draws from the latents' distribution where our graphs take its mean; here it takes the
mean, too, so that the first noise that both draw is the same.
"""

import json
from functools import cache

import diffusers
import pytest
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.utils import logging
from PIL import Image as Picture

import nodes
from graph import load
from runtime import Session

pytestmark = pytest.mark.slow  # whole runs

PROMPT = "two strawberries on a blue background"
SCHEDULERS = {
    "ddim": diffusers.DDIMScheduler,
    "euler_ancestral": diffusers.EulerAncestralDiscreteScheduler,
    "euler": diffusers.EulerDiscreteScheduler,
    "pndm": diffusers.PNDMScheduler,
    "unipc": diffusers.UniPCMultistepScheduler,
    "dpmpp_2m": diffusers.DPMSolverMultistepScheduler,
}
WIDTH, HEIGHT = 96, 64

assert nodes.__all__


def slow(*names):
    return [pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.fixture(autouse=True)
def the_oracle_takes_the_mean(monkeypatch):
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", lambda self, *_: self.mode())
    logging.set_verbosity_error()


@pytest.fixture
def files(tmp_path):
    """Write pictures, a mask and a depth map; gives them as the oracle takes them."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 4, 6, generator=generator)
    pixels = torch.nn.functional.interpolate(coarse, (HEIGHT, WIDTH), mode="bilinear")
    pixels = (255 * pixels).to(torch.uint8)[0].permute(1, 2, 0)
    mask = torch.zeros(HEIGHT, WIDTH, dtype=torch.uint8)
    mask[20:50, 30:70] = 255
    found = {"image": Picture.fromarray(pixels.numpy()), "mask": Picture.fromarray(mask.numpy())}
    found["small"] = found["image"].resize((24, 16))
    found["depth"] = found["image"].convert("L")
    for name, picture in found.items():
        picture.save(tmp_path / f"{name}.png")
    return found


@pytest.fixture
def run(tmp_path):
    """Give what runs a shipped graph on the files."""

    def run(name, folder, **inputs):
        given = {key: str(tmp_path / f"{value}.png") for key, value in inputs.pop("paths").items()}
        output = str(tmp_path / "out.png")
        session = Session("cpu", "float32")
        return session(load(name), model=str(folder), output=output, **given, **inputs)

    return run


def oracle(kind, folder, scheduler="pndm", **components):
    theirs = kind.from_pretrained(
        folder, dtype=torch.float32, safety_checker=None, requires_safety_checker=False,
        **components,
    )  # fmt: skip
    theirs.set_progress_bar_config(disable=True)
    theirs.scheduler = SCHEDULERS[scheduler].from_config(theirs.scheduler.config)
    return theirs


def seed(number):
    return torch.Generator().manual_seed(number)


@pytest.fixture(scope="session")
def with_channels(tiny_stable_diffusion, tmp_path_factory):
    """Give what writes a tiny Stable Diffusion whose network reads so many channels.

    Its scheduler does not clip, as the published files say; else DDIM would, and where it clips the
    oracle's own pictures differ by 5e-5 for a first noise that differs by 1e-7.
    """

    @cache
    def write(channels):
        theirs = diffusers.StableDiffusionPipeline.from_pretrained(tiny_stable_diffusion)
        torch.manual_seed(channels)
        config = dict(theirs.unet.config) | {"in_channels": channels}
        theirs.unet = diffusers.UNet2DConditionModel.from_config(config)
        folder = tmp_path_factory.mktemp(f"tiny-{channels}")
        theirs.save_pretrained(folder)
        file = folder / "scheduler" / "scheduler_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"clip_sample": False}))
        return folder

    return write


@pytest.fixture
def stable_diffusion(with_channels):
    return with_channels(4)


@pytest.mark.parametrize("scheduler", ["euler", *slow("ddim", "pndm", "unipc", "dpmpp_2m")])
def test_image_to_image(stable_diffusion, files, run, relative, scheduler):
    theirs = oracle(diffusers.StableDiffusionImg2ImgPipeline, stable_diffusion, scheduler)
    expected = theirs(
        PROMPT, image=files["image"], strength=0.6, num_inference_steps=6, guidance_scale=7.5,
        generator=seed(7), output_type="pt",
    ).images  # fmt: skip
    found = run(
        "img2img", stable_diffusion, paths={"image": "image"}, prompt=PROMPT, strength=0.6,
        steps=6, scheduler=scheduler, seed=7,
    )["image"]  # fmt: skip
    assert relative(found, expected) <= 1e-4


def test_inpainting_with_nine_channels(with_channels, files, run, relative):
    folder = with_channels(9)
    theirs = oracle(diffusers.StableDiffusionInpaintPipeline, folder)
    expected = theirs(
        PROMPT, image=files["image"], mask_image=files["mask"], num_inference_steps=5,
        height=HEIGHT, width=WIDTH, generator=seed(7), output_type="pt",
    ).images  # fmt: skip
    found = run(
        "inpaint", folder, paths={"image": "image", "mask": "mask"}, prompt=PROMPT, steps=5, seed=7
    )
    assert relative(found["painted"], expected) <= 1e-4
    _is_pasted_back(found["image"], found["painted"], files)


@pytest.mark.parametrize("scheduler", ["unipc", *slow("ddim", "euler")])
def test_inpainting_by_any_network(stable_diffusion, files, run, relative, scheduler):
    theirs = oracle(diffusers.StableDiffusionInpaintPipeline, stable_diffusion, scheduler)
    expected = theirs(
        PROMPT, image=files["image"], mask_image=files["mask"], num_inference_steps=10,
        strength=0.7, height=HEIGHT, width=WIDTH, generator=seed(7), output_type="pt",
    ).images  # fmt: skip
    found = run(
        "inpaint-any", stable_diffusion, paths={"image": "image", "mask": "mask"},
        prompt=PROMPT, steps=10, strength=0.7, scheduler=scheduler, seed=7,
    )  # fmt: skip
    assert relative(found["painted"], expected) <= 1e-4
    _is_pasted_back(found["image"], found["painted"], files)


@pytest.mark.slow
def test_depth_to_image(with_channels, files, run, relative):
    folder = with_channels(5)
    parts = diffusers.StableDiffusionPipeline.from_pretrained(folder).components
    names = ("vae", "text_encoder", "tokenizer", "unet", "scheduler")
    theirs = diffusers.StableDiffusionDepth2ImgPipeline(
        **{name: parts[name] for name in names}, depth_estimator=None, feature_extractor=None
    )
    theirs.set_progress_bar_config(disable=True)
    expected = theirs(
        PROMPT, image=files["image"], depth_map=pixels_of(files["depth"])[:, 0],
        strength=0.6, num_inference_steps=6, generator=seed(7), output_type="pt",
    ).images  # fmt: skip
    found = run(
        "depth2img", folder, paths={"image": "image", "depth": "depth"}, prompt=PROMPT,
        strength=0.6, steps=6, seed=7,
    )["image"]  # fmt: skip
    assert relative(found, expected) <= 1e-4


@pytest.mark.slow
def test_editing_after_an_instruction(with_channels, files, run, relative):
    folder = with_channels(8)
    theirs = oracle(diffusers.StableDiffusionInstructPix2PixPipeline, folder, "euler_ancestral")
    expected = theirs(
        PROMPT, image=files["image"], num_inference_steps=5, guidance_scale=6.0,
        image_guidance_scale=1.3, generator=seed(7), output_type="pt",
    ).images  # fmt: skip
    found = run(
        "instruct-pix2pix", folder, paths={"image": "image"}, prompt=PROMPT, steps=5, seed=7,
        guidance_scale=6.0, image_guidance_scale=1.3, scheduler="euler_ancestral",
    )["image"]  # fmt: skip
    assert relative(found, expected) <= 1e-4


@pytest.mark.slow
def test_upscaling(stable_diffusion, files, run, relative, tmp_path):
    parts = diffusers.StableDiffusionPipeline.from_pretrained(stable_diffusion).components
    torch.manual_seed(0)
    unet = dict(parts["unet"].config) | {"in_channels": 7, "num_class_embeds": 1000}
    vae = dict(parts["vae"].config) | {
        "block_out_channels": (16, 32, 32), "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3, "scaling_factor": 0.08333,
    }  # fmt: skip
    theirs = diffusers.StableDiffusionUpscalePipeline(
        vae=diffusers.AutoencoderKL.from_config(vae),
        unet=diffusers.UNet2DConditionModel.from_config(unet),
        text_encoder=parts["text_encoder"],
        tokenizer=parts["tokenizer"],
        scheduler=SCHEDULERS["ddim"].from_config(
            parts["scheduler"].config, beta_start=1e-4, beta_end=0.02,
            prediction_type="v_prediction", clip_sample=False,
        ),
        low_res_scheduler=diffusers.DDPMScheduler(
            beta_start=1e-4, beta_end=0.02, beta_schedule="scaled_linear"
        ),
    )  # fmt: skip
    theirs.set_progress_bar_config(disable=True)
    theirs.save_pretrained(tmp_path / "tiny-x4")
    expected = theirs(
        PROMPT, image=files["small"], num_inference_steps=4, noise_level=30,
        generator=seed(7), output_type="pt",
    ).images  # fmt: skip
    found = run(
        "upscale-x4", tmp_path / "tiny-x4", paths={"image": "small"}, prompt=PROMPT, steps=4,
        noise_level=30, seed=7,
    )["image"]  # fmt: skip
    assert found.shape == (1, 3, 64, 96)
    assert relative(found, expected) <= 1e-4


@pytest.mark.slow
def test_two_passes(stable_diffusion, run, relative):
    inputs = {"prompt": PROMPT, "seed": 7, "scheduler": "euler", "width": 64, "height": 48}
    found = run("hires-fix", stable_diffusion, paths={}, steps=4, strength=0.5, **inputs)
    first = oracle(diffusers.StableDiffusionPipeline, stable_diffusion, "euler")
    generator = seed(7)
    small = first(
        PROMPT, num_inference_steps=4, width=64, height=48, generator=generator,
        output_type="latent",
    ).images  # fmt: skip
    assert relative(found["latents"], small) <= 1e-4
    second = oracle(diffusers.StableDiffusionImg2ImgPipeline, stable_diffusion, "euler")
    expected = second(
        PROMPT, image=small.repeat_interleave(2, 2).repeat_interleave(2, 3), strength=0.5,
        num_inference_steps=4, generator=generator, output_type="pt",
    ).images  # fmt: skip
    assert relative(found["image"], expected) <= 1e-4


@pytest.mark.slow
def test_inversion_and_back(stable_diffusion, files, run, relative):
    theirs = oracle(diffusers.StableDiffusionPipeline, stable_diffusion, "ddim")
    upwards = diffusers.DDIMInverseScheduler.from_config(theirs.scheduler.config)
    upwards.set_timesteps(6)
    with torch.no_grad():
        shown, _ = theirs.encode_prompt("a source", "cpu", 1, False)
        sample = theirs.vae.encode(2 * pixels_of(files["image"]) - 1).latent_dist.mode()
        sample = theirs.vae.config.scaling_factor * sample
        for time in upwards.timesteps:
            sample = upwards.step(theirs.unet(sample, time, shown).sample, time, sample).prev_sample
    expected = theirs(
        PROMPT, num_inference_steps=6, guidance_scale=3.0, latents=sample, output_type="pt",
        width=WIDTH, height=HEIGHT,
    ).images  # fmt: skip
    found = run(
        "ddim-inversion", stable_diffusion, paths={"image": "image"}, source="a source",
        prompt=PROMPT, steps=6,
    )  # fmt: skip
    assert relative(found["noise"], sample) <= 1e-4
    assert relative(found["image"], expected) <= 1e-4


@pytest.mark.slow
def test_variations_lie_between_two_pictures(stable_diffusion, run, relative):
    inputs = {"prompt": PROMPT, "steps": 2, "width": 64, "height": 48}

    def picture(number):
        return run("sd15", stable_diffusion, paths={}, seed=number, **inputs)["image"]

    varied = {"seed": 3, "variation_seed": 11, "count": 2, **inputs}
    same = run("variations", stable_diffusion, paths={}, amount=0.0, **varied)["image"]
    other = run("variations", stable_diffusion, paths={}, amount=1.0, **varied)["image"]
    assert relative(same[1:], picture(3)) <= 1e-4
    assert relative(other[1:], picture(12)) <= 1e-4


def test_a_film_ends_with_the_picture(tmp_path, relative):
    inputs = {"model": "emoji-64", "prompt": PROMPT, "steps": 4, "scheduler": "euler", "count": 2}
    session = Session("cpu", "float32")
    path = tmp_path / "steps.gif"
    frames = session(load("steps-film"), output=str(path), **inputs)["frames"]
    found = session(
        load("batch"), output=str(tmp_path / "a.png"), sheet=str(tmp_path / "sheet.png"), **inputs
    )
    assert len(frames) == 4
    assert path.exists()
    assert relative(frames[0], found["sheet"]) > 0.01
    assert relative(frames[-1], found["sheet"]) <= 1e-5  # the last step takes the estimate as it is


@pytest.mark.slow
def test_one_tile_is_the_whole_picture(stable_diffusion, files, run, relative):
    inputs = {"prompt": PROMPT, "strength": 0.5, "steps": 4, "scheduler": "unipc"}
    paths = {"image": "small"}
    whole = run("img2img", stable_diffusion, paths=dict(paths), **inputs)["image"]
    tiled = run("tiled-upscale", stable_diffusion, paths=dict(paths), scale=1.0, **inputs)
    assert relative(tiled["image"], whole) <= 1e-5
    paths = {"image": "image"}
    cut = run("tiled-upscale", stable_diffusion, paths=paths, size=8, overlap=2, **inputs)
    assert cut["image"].shape == (1, 3, 2 * HEIGHT, 2 * WIDTH)


def pixels_of(picture):
    pixels = torch.frombuffer(bytearray(picture.convert("RGB").tobytes()), dtype=torch.uint8)
    return pixels.reshape(1, picture.height, picture.width, 3).permute(0, 3, 1, 2) / 255


def _is_pasted_back(image, painted, files):
    original = pixels_of(files["image"])
    inside = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    inside[20:50, 30:70] = True
    assert torch.equal(image[..., ~inside], original[..., ~inside])
    assert torch.equal(image[..., inside], painted[..., inside])


def test_outpainting_keeps_the_old_picture(with_channels, files, run):
    found = run(
        "outpaint", with_channels(9), paths={"image": "image"}, prompt=PROMPT, steps=2, right=32,
        overlap=8, softness=1.0,
    )["image"]  # fmt: skip
    assert found.shape == (1, 3, HEIGHT, WIDTH + 32)
    original = pixels_of(files["image"])
    untouched = WIDTH - 8 - 3  # the overlap, and the softness of the seam
    assert torch.equal(found[..., :untouched], original[..., :untouched])
