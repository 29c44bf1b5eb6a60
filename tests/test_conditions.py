"""The nodes around a network: what it is told, in numbers and in refusals."""

import diffusers
import pytest
import torch

from nodes.control import adapter_features, add_controls, controlnet
from nodes.denoise import add_channels, class_label, picture_size, unet
from nodes.models import (
    AutoencoderTiny,
    ControlNetModel,
    T2IAdapter,
    UNet2DConditionModel,
    UNet2DModel,
)
from tests.published_configs import CONTROLNETS, UNETS, reduced

SD = reduced(UNETS["stable diffusion 1"])
TIME = torch.tensor(501)


def build(kind, config):
    torch.manual_seed(0)
    return kind.from_config(config).requires_grad_(False)


def test_the_guidance_scale_is_embedded_as_the_oracle_does(relative):
    network = build(UNet2DConditionModel, reduced(UNETS["latent consistency"]))
    pipeline = diffusers.LatentConsistencyModelPipeline.get_guidance_scale_embedding
    embedded = pipeline(None, torch.tensor([7.5]), embedding_dim=16)
    sample, text = torch.randn(2, 4, 16, 16), torch.randn(1, 7, 24)
    told = network.time_embedding(network.wave(TIME), embedded)
    expected = network.predict(sample, told, text.expand(2, -1, -1))[0]
    assert relative(unet(network, sample, TIME, text, guidance_scale=8.5), expected) <= 1e-5


def test_sizes_are_in_the_order_that_sdxl_was_trained_with():
    vae, latents = build(AutoencoderTiny, {}), torch.zeros(2, 4, 64, 80)
    assert picture_size(vae, latents).tolist() == [[512, 640, 0, 0, 512, 640]]
    cut = picture_size(
        vae, latents, original_width=1000, original_height=900, crop_left=3, crop_top=5
    )
    assert cut.tolist() == [[900, 1000, 5, 3, 512, 640]]
    assert picture_size(vae, latents, aesthetic_score=2.5).tolist() == [[512, 640, 0, 0, 2.5]]


def test_controlnets_are_scaled_and_add_up():
    network = build(ControlNetModel, reduced(CONTROLNETS["controlnet 1"]))
    for parameter in network.parameters():
        parameter += 0.01 * torch.randn_like(parameter)
    sample, text, image = (
        torch.randn(2, 4, 16, 16),
        torch.randn(1, 7, 24),
        torch.rand(1, 3, 128, 128),
    )
    whole = controlnet(network, image, sample, TIME, text)
    half = controlnet(network, image, sample, TIME, text, strength=0.5)
    more = add_controls([whole, None, half])
    guess = controlnet(network, image, sample, TIME, text, guess=True)
    for one, other in zip((*half.skips, half.middle), (*whole.skips, whole.middle), strict=True):
        assert torch.allclose(2 * one, other)
    assert torch.allclose(more.middle, 1.5 * whole.middle)
    assert torch.allclose(guess.skips[0], 0.1 * whole.skips[0])
    assert torch.allclose(guess.middle, whole.middle)


def test_an_adapter_is_scaled():
    network = build(T2IAdapter, {"channels": [16, 32, 64, 64]})
    image = torch.rand(1, 3, 64, 64)
    whole, half = (adapter_features(network, image, strength) for strength in (1.0, 0.5))
    assert len(whole) == 4
    assert all(torch.allclose(2 * one, other) for one, other in zip(half, whole, strict=True))


def test_further_channels_serve_all_pictures():
    whole = add_channels(torch.zeros(3, 4, 8, 8), torch.ones(1, 5, 8, 8))
    assert whole.shape == (3, 9, 8, 8)
    assert whole[:, 4:].eq(1).all()


def call_unet(sample=(2, 4, 16, 16), text=(2, 7, 24), network=None, **told):
    network = network or build(UNet2DConditionModel, SD)
    return unet(
        network, torch.zeros(sample), TIME, None if text is None else torch.zeros(text), **told
    )


WRONG = {
    "channels": (
        lambda: call_unet(sample=(2, 9, 16, 16)), "this network reads 4 channels, `sample` has 9",
    ),
    "text width": (
        lambda: call_unet(text=(2, 7, 32)),
        "the network expects text of width 24, `text` has 32: is the text encoder that of another checkpoint",
    ),
    "no text": (lambda: call_unet(text=None), "this network is told a text: wire `text`"),
    "texts": (lambda: call_unet(text=(3, 7, 24)), "there are 3 texts for 2 pictures"),
    "class labels": (
        lambda: call_unet((3, 7, 16, 16), (1, 7, 24), build(UNet2DConditionModel, reduced(UNETS["x4 upscaler"])),
                          class_label=class_label(20).expand(2)),
        "there are 2 class labels for 3 pictures",
    ),
    "a text where there is none": (
        lambda: call_unet(network=build(UNet2DModel, {
            "sample_size": 8, "block_out_channels": [8], "norm_num_groups": 8, "in_channels": 4,
            "down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"]})),
        "this network is told nothing but the time and, if it has classes, a class: leave out `text`",
    ),
    "picture of another size": (
        lambda: controlnet(build(ControlNetModel, reduced(CONTROLNETS["controlnet 1"])), torch.zeros(1, 3, 64, 96),
                           torch.zeros(1, 4, 16, 16), TIME, torch.zeros(1, 7, 24)),
        "`image` is 96×64, and the sample needs a picture of 128×128",
    ),
    "picture that does not divide": (
        lambda: adapter_features(build(T2IAdapter, {"channels": [16]}), torch.rand(1, 3, 60, 64)),
        "`image` is 64×60, and both sides must be multiples of 8",
    ),
    "channels of another size": (
        lambda: add_channels(torch.zeros(1, 4, 8, 16), torch.zeros(1, 5, 8, 8)), "`sample` is 16×8, `channels` is 8×8",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_does_not_fit_is_told_in_words(call, message):
    with pytest.raises(ValueError, match=message):
        call()
