"""One sample that is told several texts: what they have in common is computed once."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from nodes.control import controlnet
from nodes.denoise import add_channels, unet
from nodes.models import (
    Conditions,
    ControlNetModel,
    UNet2DConditionModel,
    UNet2DModel,
    pack,
    with_balance,
    with_own_pixels,
    with_picture,
)
from nodes.models.ip_adapter import text_attentions
from nodes.models.packed import Packed, PackedConv2d, PackedLinear, can_pack
from nodes.models.unet_blocks import join
from tests.published_configs import CONTROLNETS, UNETS, reduced
from tests.test_families import conditions_for
from tests.test_unet_2d import REDUCED

TIME = torch.tensor(501.0)
SD = reduced(UNETS["stable diffusion 1"])


def build(kind, config):
    torch.manual_seed(0)
    network = kind.from_config(config).requires_grad_(False)
    for parameter in network.parameters():
        parameter += 0.02 * torch.randn_like(parameter)
    return network


def one_and_two(channels=4):
    sample = torch.randn(1, channels, 16, 24)
    return sample, sample.expand(2, -1, -1, -1)


@pytest.mark.parametrize(
    "name", ["stable diffusion 1", "latent consistency", "x4 upscaler", "sdxl", "kolors"]
)
def test_a_sample_serves_all_texts(name, relative):
    config = reduced(UNETS[name])
    network = build(UNet2DConditionModel, config)
    text = torch.randn(2, 7, config.get("encoder_hid_dim", 24))
    told, _ = conditions_for(config)
    one, two = one_and_two(config["in_channels"])
    expected = network(two, TIME, text, told)
    assert relative(network(one, TIME, text, told), expected) <= 1e-5
    assert relative(expected[:1], expected[1:]) > 1e-3  # they do differ


@pytest.mark.parametrize("name", ["adm", "ncsn++", "a vector as class"])
def test_a_sample_serves_all_classes_and_times(name, relative):
    config = REDUCED[name]
    network, (one, two) = build(UNet2DModel, config), one_and_two(3)
    time, label = torch.tensor([3.0, 741.0]), None
    if "num_class_embeds" in config:
        label = torch.tensor([2, 7])
    elif "class_embed_type" in config:
        label = torch.randn(2, network.time_width)
    assert relative(network(one, time, label), network(two, time, label)) <= 1e-5


CHANGED = {
    "as it is": lambda network: network,
    "free_u": lambda network: with_balance(network, (1.5, 1.6), (0.9, 0.2)),
    "perturbed": lambda network: with_own_pixels(network, ["down_blocks.0", "mid_block"]),
}


@pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED)
def test_a_controlnet_and_the_network_that_it_guides_do_so(change, relative):
    network = change(build(UNet2DConditionModel, SD))
    guide = build(ControlNetModel, reduced(CONTROLNETS["controlnet 1"]))
    (one, two), text, image = one_and_two(), torch.randn(2, 7, 24), torch.rand(1, 3, 128, 192)
    expected, found = (controlnet(guide, image, sample, TIME, text) for sample in (two, one))
    assert [len(skip) for skip in found.skips][:2] == [1, 2]
    for mine, other in zip(found.skips, expected.skips, strict=True):
        assert relative(mine.expand_as(other), other) <= 1e-5
    predictions = [
        unet(network, sample, TIME, text, control=control)
        for sample, control in ((two, expected), (one, found), (one, expected), (two, found))
    ]
    assert all(relative(each, predictions[0]) <= 1e-5 for each in predictions)


def test_one_picture_serves_all_texts_and_one_text_all_pictures(relative):
    network = build(UNet2DConditionModel, SD)
    attentions = text_attentions(network).values()
    layers = [
        (torch.randn_like(it.to_k.weight), torch.randn_like(it.to_v.weight)) for it in attentions
    ]
    network = with_picture(network, layers, tokens=3, scale=0.5)
    one, two = one_and_two()
    texts, prompts = torch.randn(2, 7, 24), torch.randn(2, 3, 24)
    for text, prompt in ((texts, prompts[:1]), (texts[:1], prompts)):
        told = {"text": text.expand(2, -1, -1), "image_prompt": prompt.expand(2, -1, -1)}
        expected = unet(network, two, TIME, **told)
        assert relative(unet(network, one, TIME, text, image_prompt=prompt), expected) <= 1e-5


def test_it_is_computed_once_in_front_of_the_first_look_at_the_text():
    network = build(UNet2DConditionModel, SD)
    first, attention = network.down_blocks[0].resnets[0], network.down_blocks[0].attentions[0]
    block = attention.transformer_blocks[0]
    shared = {
        "conv_in": network.conv_in, "resnet": first, "proj_in": attention.proj_in,
        "attn1": block.attn1, "to_q": block.attn2.to_q, "norm2": block.norm2,
    }  # fmt: skip
    apart = {
        "ff": block.ff,
        "proj_out": attention.proj_out,
        "next": network.down_blocks[0].resnets[1],
    }
    seen = {}
    for name, module in (shared | apart).items():
        module.register_forward_hook(lambda *given, name=name: seen.update({name: len(given[2])}))
    network(one_and_two()[0], TIME, torch.randn(2, 7, 24))
    assert seen == dict.fromkeys(shared, 1) | dict.fromkeys(apart, 2)


@pytest.mark.parametrize(
    ("name", "side", "share"),
    [
        ("stable diffusion 1", 64, 0.026),
        pytest.param("stable diffusion 1", 32, 0.018, marks=pytest.mark.slow),
        pytest.param("sdxl", 128, 0.0025, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_operations_that_a_pair_of_guidance_saves(name, side, share):
    with torch.device("meta"):
        network, time = UNet2DConditionModel.from_config(UNETS[name]), torch.tensor(1.0)
        text, told = torch.empty(2, 77, network.config.cross_attention_dim), Conditions()
        if network.add_embedding is not None:  # which is told the text at once
            told = Conditions(pooled_text=torch.empty(2, 1280), size=torch.empty(1, 6))
        flops = []
        for pictures in (2, 1):
            with torch.no_grad(), FlopCounterMode(display=False) as counter:
                network(torch.empty(pictures, 4, side, side), time, text, told)
            flops.append(counter.get_total_flops())
    saved = 1 - flops[1] / flops[0]
    print(
        f"{name} at {8 * side} px: {flops[1] / 1e9:.0f} instead of {flops[0] / 1e9:.0f} GFLOPs, {saved:.2%} less"
    )
    assert saved == pytest.approx(share, rel=0.1)


def test_a_skip_that_is_repeated_keeps_channels_last():
    x, skip = (
        torch.randn(count, 8, 4, 4).to(memory_format=torch.channels_last) for count in (2, 1)
    )
    joined = join(x, skip)
    assert torch.equal(joined[:, 8:], skip.expand(2, -1, -1, -1))
    assert joined.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.skipif(not can_pack(), reason="this PyTorch has no oneDNN")
def test_no_weight_is_packed_twice(monkeypatch):
    packed = []

    def watch(kind, name):
        plain = getattr(kind, name)
        monkeypatch.setattr(kind, name, lambda self, x: packed.append(self) or plain(self, x))

    watch(PackedConv2d, "pack")
    watch(PackedLinear, "pack")
    network, (one, _) = pack(build(UNet2DConditionModel, SD)), one_and_two()
    packed.clear()  # what was packed to see whether it can be
    with torch.no_grad():
        for _ in range(2):
            network(one, TIME, torch.randn(2, 7, 24))
    layers = [module for module in network.modules() if isinstance(module, Packed)]
    assert len(packed) == len(set(packed)) == len(layers) > 50


def test_other_numbers_are_told_in_words():
    network, (one, two) = build(UNet2DConditionModel, SD), one_and_two()
    with pytest.raises(ValueError, match="there are 3 texts for 2 pictures"):
        unet(network, two, TIME, torch.zeros(3, 7, 24))
    with pytest.raises(ValueError, match="there are 3 image prompts for 2 pictures"):
        unet(network, one, TIME, torch.zeros(2, 7, 24), image_prompt=torch.zeros(3, 1, 24))
    with pytest.raises(ValueError, match="there are 3 channels for 2 pictures"):
        add_channels(two, torch.zeros(3, 5, 16, 24))
