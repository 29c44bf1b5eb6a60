"""Networks on devices of their own: nodes bring what they are told to them, and the answer back.

The meta device is the other device here, which needs no GPU; what is brought back from it is zeros.
"""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import nodes
from nodes.control import adapter_features, controlnet
from nodes.denoise import unet
from nodes.image import vae_decode, vae_encode
from nodes.image_prompt import IPAdapter, apply_ip_adapter, image_prompt
from nodes.load import load_unet, load_vae
from nodes.lora import LoRA, apply_lora
from nodes.models import (
    CLIPVisionModelWithProjection,
    ControlNetModel,
    ImageProjection,
    T2IAdapter,
    UNet2DConditionModel,
    text_attentions,
)
from nodes.safety import SafetyChecker, check_safety
from nodes.step_cache import cached_unet
from nodes.text import encode_text, encode_text_and_pool, load_text_encoder
from nodes.weights import Change
from runtime.mixing import expect_alike
from tests.published_configs import CONTROLNETS, UNETS, reduced

assert nodes.__all__
HERE, THERE, HALF = torch.device("cpu"), torch.device("meta"), torch.float16
TINY = {
    "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "image_size": 32, "patch_size": 8, "projection_dim": 16,
}  # fmt: skip


class TwoDevices(TorchDispatchMode):
    """Refuses what two devices would refuse, and lets numbers be brought back."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        expect_alike(func, args)
        named: dict[str, Any] = dict(kwargs or {})
        if func is torch.ops.aten._to_copy.default and named.get("device") == HERE:
            return torch.zeros(args[0].shape, dtype=named.get("dtype", args[0].dtype))
        return func(*args, **named)


@pytest.fixture(autouse=True)
def two_devices():
    with TwoDevices(), torch.no_grad():
        yield


def there(network, config):
    with THERE:
        return network.from_config(config).to(HALF).requires_grad_(False)


def here(*shape: int) -> Tensor:
    return torch.zeros(shape)


def test_texts():
    encoder = load_text_encoder("emoji-64", THERE, HALF)
    tokens = torch.ones(1, 32, dtype=torch.long)
    assert encode_text(encoder, tokens).device == HERE
    assert {part.device for part in encode_text_and_pool(encoder, tokens)} == {HERE}


def test_autoencoder():
    vae = load_vae("emoji-64", THERE, HALF)
    assert vae_decode(vae, here(2, 4, 8, 8)).device == HERE
    assert vae_decode(vae, here(2, 4, 32, 32), tile=64).device == HERE
    assert vae_encode(vae, here(1, 3, 32, 32), HERE).device == HERE
    assert vae_encode(vae, here(1, 3, 32, 32), HERE, here(1, 4, 8, 8)).device == HERE


def test_unconditional():
    network = load_unet("emoji-32", THERE, HALF)
    found = unet(network, here(1, 3, 32, 32), here())
    assert (found.device, found.dtype) == (HERE, torch.float32)


def test_all_that_a_network_is_told():
    network = there(UNet2DConditionModel, reduced(UNETS["stable diffusion 1"]))
    guide = there(ControlNetModel, reduced(CONTROLNETS["controlnet 1"]))
    sample, text = here(2, 4, 16, 16), here(1, 77, 24)
    added = controlnet(guide, here(1, 3, 128, 128), sample, here(), text)
    assert {part.device for part in (*added.skips, added.middle)} == {HERE}
    widths = list(network.config.block_out_channels)
    adapter = there(T2IAdapter, {"adapter_type": "full_adapter", "channels": widths})
    told = {"control": added, "adapter": adapter_features(adapter, here(1, 3, 128, 128))}
    assert unet(network, sample, here(), text, **told).device == HERE
    first = cached_unet(network, sample, here(), True, None, text, **told)
    again = cached_unet(network, sample, here(), False, first.deep, text, **told)
    assert (first.prediction.device, again.prediction.device) == (HERE, HERE)


def test_pictures_as_prompts():
    network = there(UNet2DConditionModel, reduced(UNETS["stable diffusion 1"]))
    shapes = [tuple(each.to_k.weight.shape) for each in text_attentions(network).values()]
    layers = [(here(*shape), here(*shape)) for shape in shapes]
    adapter = IPAdapter("a", ImageProjection(16, 24, 4), layers)
    eyes = there(CLIPVisionModelWithProjection, TINY)
    seen = image_prompt(eyes, adapter, here(1, 3, 40, 48))
    wide = apply_ip_adapter(network, adapter)
    found = unet(wide, here(1, 4, 16, 16), here(), here(1, 77, 24), image_prompt=seen)
    assert found.device == HERE


def test_changes_of_weights():
    network = load_unet("emoji-64", THERE, HALF)
    layer = "down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
    change = Change({"lora_up": here(96, 4), "lora_down": here(4, 128)}, 1.0)
    changed = apply_lora(network, LoRA("a", {"unet": {layer: change}}))
    assert {weight.device for weight in changed.parameters()} == {THERE}


def test_what_looks_at_pictures():
    checker = there(SafetyChecker, {"vision_config": TINY, "projection_dim": 16})
    assert check_safety(checker, here(1, 3, 64, 64)).image.device == HERE
