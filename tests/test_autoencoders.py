"""The autoencoders of the families against the development oracle, and the scale of their latents."""

import diffusers
import pytest
import torch

from nodes.image import vae_decode, vae_encode
from nodes.load import load_vae
from nodes.models import AutoencoderKL, AutoencoderTiny
from tests.conftest import weights_of
from tests.test_families import shapes, twins

SD = {
    "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "sample_size": 512,
    "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4,
}  # fmt: skip
SIXTEEN = SD | {"latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False}
AUTOENCODERS = {
    "stable diffusion": SD,
    "sdxl": SD | {"scaling_factor": 0.13025, "force_upcast": True, "sample_size": 1024},
    "playground 2.5": SD | {
        "scaling_factor": 0.5, "latents_mean": [-1.6574, 1.886, -1.383, 2.5155],
        "latents_std": [8.4927, 5.9022, 6.5498, 5.2299],
    },
    "stable diffusion 3": SIXTEEN | {"scaling_factor": 1.5305, "shift_factor": 0.0609},
    "flux": SIXTEEN | {"scaling_factor": 0.3611, "shift_factor": 0.1159, "mid_block_add_attention": True},
    "x4 upscaler": SD | {
        "block_out_channels": [128, 256, 512], "scaling_factor": 0.08333, "shift_factor": None,
        "down_block_types": ["DownEncoderBlock2D"] * 3, "up_block_types": ["UpDecoderBlock2D"] * 3,
    },
}  # fmt: skip
TINY = {"taesd": {}, "taef1": {"latent_channels": 16}}

CPU = torch.device("cpu")


def narrow(config: dict) -> dict:
    widths = [16, 24, 32, 32][: len(config["block_out_channels"])]
    return config | {"block_out_channels": widths, "norm_num_groups": 8}


@pytest.mark.parametrize("config", AUTOENCODERS.values(), ids=AUTOENCODERS.keys())
def test_the_weights_have_the_oracles_names_and_shapes(config):
    with torch.device("meta"):
        theirs, ours = diffusers.AutoencoderKL(**config), AutoencoderKL.from_config(config)
    assert shapes(ours) == shapes(theirs)


@pytest.mark.parametrize("config", TINY.values(), ids=TINY.keys())
def test_a_tiny_one_is_the_oracles(config, relative):
    theirs, ours = twins(diffusers.AutoencoderTiny, AutoencoderTiny, config)
    assert shapes(ours) == shapes(theirs)
    picture = torch.rand(1, 3, 32, 48) * 2 - 1
    with torch.no_grad():
        latents = theirs.encode(picture).latents
        assert relative(ours.encode(picture).mean, latents) <= 1e-5
        assert relative(ours.decode(latents), theirs.decode(latents).sample) <= 1e-5
        assert torch.equal(ours.unscaled(latents), latents)
        assert torch.equal(
            ours.encode(picture).sample(torch.randn_like(latents)), ours.encode(picture).mean
        )


@pytest.mark.parametrize("config", AUTOENCODERS.values(), ids=AUTOENCODERS.keys())
def test_encoding_and_decoding_are_the_oracles_and_so_are_the_gradients(config, relative):
    config = narrow(config)
    theirs, ours = twins(diffusers.AutoencoderKL, AutoencoderKL, config)
    picture, noise = torch.rand(2, 3, 32, 48) * 2 - 1, None
    results = []
    for network, moments in (
        (theirs, lambda x: theirs.encode(x).latent_dist),
        (ours, lambda x: ours.encode(x)),
    ):
        x = picture.clone().requires_grad_()
        found = moments(x)
        log_variance = found.logvar if network is theirs else found.log_variance
        noise = torch.randn_like(found.mean) if noise is None else noise
        latents = found.mean + (0.5 * log_variance).exp() * noise
        decoded = network.decode(latents)
        decoded = decoded.sample if network is theirs else decoded
        decoded.square().sum().backward()
        gradients = {name: p.grad for name, p in network.named_parameters()}
        results.append((found.mean, log_variance, decoded, x.grad, gradients))
    (*expected, their_gradients), (*parts, gradients) = results
    for part, other in zip(parts, expected, strict=True):
        assert relative(part, other) <= 1e-5
    whole = [
        torch.cat([g[name].flatten() for name in their_gradients])
        for g in (gradients, their_gradients)
    ]
    assert relative(*whole) <= 1e-5


@pytest.mark.parametrize("config", AUTOENCODERS.values(), ids=AUTOENCODERS.keys())
def test_the_scale_of_latents_is_undone(config, relative):
    ours = AutoencoderKL.from_config(narrow(config))
    own = torch.randn(2, ours.channels, 4, 4)
    assert relative(ours.unscaled(ours.scaled(own)), own) <= 1e-6
    # As the oracle's pipelines write it before they decode.
    if "latents_mean" in config:
        mean, deviation = (
            torch.tensor(config[f"latents_{part}"]).view(1, -1, 1, 1) for part in ("mean", "std")
        )
        expected = own * deviation / config["scaling_factor"] + mean
    else:
        expected = own / config.get("scaling_factor", 0.18215) + (config.get("shift_factor") or 0)
    assert relative(ours.unscaled(own), expected) <= 1e-6


def test_pictures_are_encoded_as_a_mean_or_a_draw_in_either_scale(relative):
    vae = AutoencoderKL.from_config(narrow(SD)).requires_grad_(False)
    image, noise = torch.rand(1, 3, 32, 32), torch.randn(1, 4, 4, 4)
    found = vae.encode(2 * image - 1)
    assert relative(vae_encode(vae, image, CPU), found.mean * 0.18215) <= 1e-6
    assert relative(vae_encode(vae, image, CPU, scaled=False), found.mean) <= 1e-6
    drawn = (found.mean + found.log_variance.exp().sqrt() * noise) * 0.18215
    assert relative(vae_encode(vae, image, CPU, noise), drawn) <= 1e-6


@pytest.mark.parametrize("forced", [True, False, None], ids=["forced", "sound", "not said"])
def test_one_that_overflows_is_in_float32_where_float16_is_asked(forced, tmp_path, relative):
    torch.manual_seed(0)
    said = {} if forced is None else {"force_upcast": forced}
    theirs = diffusers.AutoencoderKL(**narrow(SD) | said).requires_grad_(False)
    theirs.save_pretrained(tmp_path / "vae")
    upcast = forced is not False  # as the oracle has it where a config does not say
    for asked in (torch.float16, torch.bfloat16, torch.float32):
        vae = load_vae(str(tmp_path), torch.device("cpu"), asked)
        found = torch.float32 if upcast and asked == torch.float16 else asked
        assert {weight.dtype for weight in weights_of(vae).values()} == {found}
    latents = torch.randn(1, 4, 4, 4).half()
    vae = load_vae(str(tmp_path), torch.device("cpu"), torch.float16)
    expected = theirs.decode(latents.float() / theirs.config.scaling_factor).sample / 2 + 0.5
    assert relative(vae_decode(vae, latents), expected.clamp(0, 1)) <= (1e-3 if upcast else 2e-2)


def test_what_does_not_fit_is_told_in_words():
    vae = AutoencoderKL.from_config(narrow(SD))
    with pytest.raises(
        ValueError, match="this autoencoder's latents have 4 channels, `latents` has 16"
    ):
        vae_decode(vae, torch.zeros(1, 16, 4, 4))
    with pytest.raises(ValueError, match="`image` is 30×32, and both sides must be multiples of 8"):
        vae_encode(vae, torch.zeros(1, 3, 32, 30), CPU)
