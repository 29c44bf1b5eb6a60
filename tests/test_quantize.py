"""Weights in eight bits are as far off as eight bits are, and no further."""

from pathlib import Path

import pytest
import torch
from torch import nn

import nodes
from graph import bind, load
from nodes.load import load_unet, load_vae
from nodes.lora import LoRA, apply_lora
from nodes.models import is_quantized, with_weight
from nodes.models.packed import PackedConv2d, PackedLinear
from nodes.models.quantized import (
    Quantized,
    QuantizedConv2d,
    QuantizedLinear,
    can_multiply_bytes,
    can_multiply_float8,
    in_bytes,
)
from nodes.quantize import quantize
from nodes.text import encode_text, load_text_encoder, load_tokenizer, tokenize
from nodes.weights import Change
from runtime import Session
from runtime.check import foresee
from runtime.memory.rest import bring, bring_by_layer

assert nodes.__all__  # importing registers the node types
CPU = torch.device("cpu")
PRECISIONS = ("int8", "float8")
LAYERS = {
    "conv": (nn.Conv2d(64, 48, 3, padding=1), (2, 64, 9, 7)),
    "strided": (nn.Conv2d(64, 48, 3, stride=2), (2, 64, 9, 9)),
    "pointwise": (nn.Conv2d(64, 48, 1, bias=False), (3, 64, 5, 5)),
    "linear": (nn.Linear(64, 48), (2, 9, 64)),
    "vectors": (nn.Linear(64, 48, bias=False), (2, 64)),
}
needs_bytes = pytest.mark.skipif(not can_multiply_bytes(), reason="this CPU multiplies no bytes")


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def made(layer, precision):
    kind = QuantizedConv2d if isinstance(layer, nn.Conv2d) else QuantizedLinear
    return kind(layer, layer.weight, precision)


@pytest.mark.parametrize("name", LAYERS)
def test_a_weight_is_off_by_its_rounding(name):
    layer, _ = LAYERS[name]
    weight = layer.weight.double()
    step = (weight.flatten(1).abs().amax(dim=1) / 127).view(-1, *[1] * (weight.ndim - 1))
    off = (made(layer, "int8").weight - weight).abs()
    assert (off <= 0.5001 * step).all()
    assert off.max() > 0.4 * step.max()
    step = step * 127 / 448
    off = (made(layer, "float8").weight - weight).abs()
    assert (off <= weight.abs() / 16 * 1.0001 + step / 1024).all()  # three bits of fraction


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", LAYERS)
def test_without_operators_of_its_own_a_layer_multiplies_by_its_weight(
    name, precision, dtype, relative
):
    layer, shape = LAYERS[name]
    ours = made(layer, precision)
    x = torch.randn(shape, dtype=dtype)
    plain = with_weight(layer, ours.weight)(x.float())
    ours.bias = None if layer.bias is None else nn.Parameter(layer.bias.to(dtype))
    found = ours.plain(x)
    assert relative(found.float(), plain) <= {torch.float32: 1e-6, torch.bfloat16: 2e-2}[dtype]
    assert found.dtype == dtype


@needs_bytes
@pytest.mark.parametrize("name", LAYERS)
def test_bytes_are_multiplied_as_they_stand(name, relative):
    layer, shape = LAYERS[name]
    ours = made(layer, "int8")
    before = ours.weight
    x = torch.nn.functional.silu(torch.randn(shape))  # whose zero is not in the middle
    as_bytes = [in_bytes(picture) for picture in x.split(1)]
    rounded = torch.cat([(given.float() - zero) * scale for given, scale, zero in as_bytes])
    assert (rounded - x).abs().max() <= 0.51 * max(scale for _, scale, _ in as_bytes)
    assert relative(ours(x), with_weight(layer, before)(rounded)) <= 1e-6
    assert torch.equal(ours.weight, before)
    assert torch.equal(ours(x)[1:2], ours(x[1:2])), "a picture depends on those beside it"


def test_what_is_given_stays_as_it_is():
    x = torch.randn(1, 9, 64)
    given = x.clone()
    in_bytes(x)
    assert torch.equal(x, given)
    assert in_bytes(torch.zeros(2))[0].tolist() == [0, 0]


@pytest.mark.parametrize("name", ["linear", "vectors"])
def test_rows_in_float8_are_off_by_their_rounding(name, relative):
    # The operator is there on a CPU, too, but slow: it is tried here and used on GPUs.
    layer, shape = LAYERS[name]
    ours, x = made(layer.bfloat16(), "float8"), torch.randn(shape).bfloat16()
    assert not can_multiply_float8(ours, x)
    assert relative(ours.in_float8(x).float(), layer(x).float()) <= 0.06
    layer.float()


def test_gradients_flow_through_eight_bits():
    layer, shape = LAYERS["linear"]
    with torch.enable_grad():
        x = torch.randn(shape, requires_grad=True)
        layers = [made(layer, "int8")]
        layers += [made(layer, "int8").pack()] if can_multiply_bytes() else []
        for each in layers:
            (gradient,) = torch.autograd.grad(each(x).sum(), x)
            expected = each.weight.sum(dim=0).expand(shape)
            assert torch.allclose(gradient, expected, atol=1e-5)


def predicted(network):
    torch.manual_seed(1)
    encoder, tokenizer = (
        load_text_encoder("emoji-64", CPU, torch.float32),
        load_tokenizer("emoji-64"),
    )
    text = encode_text(encoder, tokenize(tokenizer, "a fox on a blue background", CPU))
    return network(torch.randn(2, 4, 16, 16), torch.tensor(500), text.expand(2, -1, -1))


@pytest.mark.parametrize(("precision", "bound"), [("int8", 0.06), ("float8", 0.06)])
def test_a_trained_network_predicts_nearly_the_same(precision, bound):
    network = load_unet("emoji-64", CPU, torch.float32)
    ours = quantize(network, precision)
    assert not is_quantized(network)
    whole = predicted(network)
    off = ((predicted(ours) - whole).norm() / whole.norm()).item()
    print(f"relative error {off:.4f}")
    assert bound / 5 < off < bound
    layers = [it for it in ours.modules() if isinstance(it, Quantized)]
    assert len(layers) > 50
    assert all(min(it.weight.shape[:2]) >= 32 for it in layers)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_other_networks_in_eight_bits(precision):
    encoder = load_text_encoder("emoji-64", CPU, torch.float32)
    tokens = torch.arange(32)[None]
    ours, whole = quantize(encoder, precision).clip(tokens)[-1], encoder.clip(tokens)[-1]
    assert 0.001 < (ours - whole).norm() / whole.norm() < 0.1
    vae = load_vae("emoji-64", CPU, torch.float32)
    latents = torch.randn(1, vae.channels, 8, 8)
    ours, whole = quantize(vae, precision).decode(latents), vae.decode(latents)
    assert 0.001 < (ours - whole).norm() / whole.norm() < 0.1


def test_a_quarter_of_the_memory_of_float32_and_weights_are_read_one_by_one():
    network = load_unet("emoji-64", CPU, torch.float32)
    ours = quantize(network)
    left = [it for it in network.modules() if isinstance(it, PackedConv2d | PackedLinear)]
    assert all(it.read is not None for it in left), "the loaded network came to hold a weight"
    held = [it.numel() * it.element_size() for it in (*ours.parameters(), *ours.buffers())]
    whole = sum(4 * it.weight.numel() for it in left)
    assert sum(held) < 0.28 * whole


@pytest.mark.parametrize("copy", [bring, bring_by_layer])
def test_networks_in_eight_bits_rest_and_are_brought(copy):
    resting = quantize(load_unet("emoji-64", CPU, torch.float32))
    found = predicted(copy(resting, CPU))
    layers = [it for it in resting.modules() if isinstance(it, Quantized)]
    assert not any(it.stored.is_mkldnn for it in layers), "what rests was packed"
    assert torch.equal(found, predicted(resting))
    assert torch.equal(found, predicted(copy(resting, CPU)))  # once it is packed


def test_the_check_counts_the_smaller_bytes():
    graph = load("quantized")
    inputs = bind(graph, {"model": "emoji-64", "prompt": "a fox"})
    report = foresee(graph, inputs, torch.float32)
    costs = {cost.name: cost for cost in report.costs}
    assert report.findings == []
    assert 0.24 < costs["unet"].weight_bytes / costs["loaded"].weight_bytes < 0.28


def test_the_shipped_graph_draws_nearly_the_same(tmp_path: Path):
    inputs = {"model": "emoji-64", "prompt": "a fox on a blue background", "guidance_scale": 3.0,
              "steps": 5, "output": str(tmp_path / "x.png")}  # fmt: skip
    session = Session("cpu", "float32")
    plain = session(load("sd15"), **inputs)["image"]
    for precision in PRECISIONS:
        ours = session(load("quantized"), precision=precision, **inputs)["image"]
        off = 255 * (ours - plain).square().mean().sqrt().item()
        print(f"{precision}: {off:.2f} of 255")
        assert 0.05 < off < 6


def test_a_lora_comes_before():
    network = load_unet("emoji-64", CPU, torch.float32)
    name = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    width = dict(network.named_modules())[name].weight.shape[0]
    pieces = {"lora_up": torch.ones(width, 1), "lora_down": torch.full((1, width), 0.01)}
    change = Change(pieces, 1.0)
    lora = LoRA("ink.safetensors", {"unet": {name.replace(".", "_"): change}})
    merged = apply_lora(network, lora)
    expected = dict(merged.named_modules())[name].weight
    ours = dict(quantize(merged).named_modules())[name].weight
    assert (ours - expected).abs().max() <= expected.abs().max() / 127 / 2 * 1.001
    expected = "`model` is in eight bits: apply the LoRA first, then `quantize`"
    with pytest.raises(ValueError, match=f"^{expected}$"):
        apply_lora(quantize(network), lora)


def test_what_is_in_eight_bits_is_not_put_there_again():
    network = quantize(load_unet("emoji-64", CPU, torch.float32))
    with pytest.raises(ValueError, match=r"^`model` is in eight bits already$"):
        quantize(network)
