"""Packed weights and chunked attention compute what the plain ones do."""

from copy import deepcopy
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nodes.models import AutoencoderKL, UNet2DConditionModel, pack
from nodes.models.attend import SCORES_AT_ONCE, attend
from nodes.models.layers import Upsample2D
from nodes.models.packed import PackedConv2d, PackedLinear, can_pack, packable
from nodes.weights import StoredTensor, load_weights
from tests.test_models import SMALL_UNET

# Packing sums in another order: the rounding of the precision, and nothing else, may differ.
CLOSE = {torch.float32: 2e-6, torch.bfloat16: 1e-2}
pytestmark = pytest.mark.skipif(not can_pack(), reason="this PyTorch has no oneDNN")


@pytest.mark.parametrize("dtype", CLOSE, ids=str)
@pytest.mark.parametrize(
    ("packed", "layer", "shapes"),
    [
        (PackedConv2d, nn.Conv2d(6, 10, 3, padding=1), [(2, 6, 9, 7), (1, 6, 16, 16), (2, 6, 9, 7)]),
        (PackedConv2d, nn.Conv2d(6, 10, 3, stride=2), [(2, 6, 9, 9), (3, 6, 8, 8)]),
        (PackedConv2d, nn.Conv2d(6, 10, 1), [(2, 6, 5, 5)]),
        (PackedConv2d, nn.Conv2d(6, 40, 3, groups=2), [(2, 6, 5, 5)]),
        (PackedLinear, nn.Linear(6, 10), [(2, 9, 6), (4, 6), (1, 6)]),
        (PackedLinear, nn.Linear(6, 10, bias=False), [(2, 9, 6)]),
    ],
    ids=["conv", "strided", "pointwise", "groups", "linear", "no bias"],
)  # fmt: skip
def test_a_packed_layer_is_its_layer_at_every_shape(packed, layer, shapes, dtype, relative):
    layer = layer.to(dtype)
    ours = packed(layer)
    with torch.no_grad():
        for shape in shapes:
            x = torch.randn(shape, dtype=dtype)
            assert relative(ours(x), layer(x)) <= CLOSE[dtype]
    assert torch.equal(ours.weight, layer.weight)


@pytest.mark.parametrize("dtype", CLOSE, ids=str)
@pytest.mark.parametrize(
    "shapes",
    [[(2, 6, 5, 7), (1, 6, 8, 8), (2, 6, 5, 7)], [(1, 6, 1, 1)]],
    ids=["many", "one pixel"],
)
def test_a_packed_layer_convolves_doubled_pixels_as_its_layer_does(shapes, dtype, relative):
    layer = nn.Conv2d(6, 40, 3, padding=1).to(dtype).requires_grad_(False)
    ours = PackedConv2d(layer)
    for shape in shapes:
        x = torch.randn(shape, dtype=dtype)
        expected = layer(F.interpolate(x, scale_factor=2.0))
        assert relative(ours(x, True), expected) <= CLOSE[dtype]
        assert relative(ours(x), layer(x)) <= CLOSE[dtype]
    other = ours.with_weight(2 * layer.weight)
    assert (
        relative(
            other(x, True) - layer.bias[:, None, None], 2 * (expected - layer.bias[:, None, None])
        )
        <= CLOSE[dtype]
    )
    assert torch.equal(ours.weight, layer.weight)
    wide = ours.to(torch.float64)  # which is never packed
    assert relative(wide.to(dtype)(x, True), expected) <= CLOSE[dtype]


def test_what_is_upsampled_to_an_odd_size_is_not_doubled(relative):
    plain = Upsample2D(6).requires_grad_(False)
    packed = pack(deepcopy(plain))
    x = torch.randn(2, 6, 4, 3)
    for size in (None, (8, 6), (7, 5)):
        assert relative(packed(x, size=size), plain(x, size=size)) <= CLOSE[torch.float32]
    x.requires_grad_()
    gradients = [torch.autograd.grad(it(x).square().sum(), x)[0] for it in (packed, plain)]
    assert relative(*gradients) <= 1e-5


@pytest.mark.parametrize("dtype", CLOSE, ids=str)
def test_a_packed_network_is_its_network(dtype, relative):
    torch.manual_seed(0)
    config = SMALL_UNET | {"in_channels": 4, "out_channels": 4}
    plain = UNet2DConditionModel.from_config(config).to(dtype).requires_grad_(False)
    packed = UNet2DConditionModel.from_config(config).to(dtype).requires_grad_(False)
    packed.load_state_dict(plain.state_dict())
    kinds = {type(module) for module in pack(packed).modules()}
    assert {PackedConv2d, PackedLinear} <= kinds
    assert not {nn.Conv2d, nn.Linear} & kinds
    sample, text = torch.randn(2, 4, 16, 16, dtype=dtype), torch.randn(2, 7, 48, dtype=dtype)
    found, expected = (
        network(sample, torch.tensor(7), text).float() for network in (packed, plain)
    )
    assert relative(found, expected) <= 5 * CLOSE[dtype]  # through some twenty layers


def test_convolutions_lay_out_their_weights_in_memory_that_they_use_in_turn():
    network = nn.Sequential(nn.Conv2d(8, 40, 3), nn.Conv2d(40, 40, 3), nn.Conv2d(40, 4, 3))
    expected = [layer.weight.detach().clone() for layer in network]
    x = torch.randn(1, 8, 9, 9)
    with torch.inference_mode():
        pack(network)[:2](x)
    scratch = network[0].scratch
    assert [it.numel() for it in scratch.values()] == [expected[1].numel()]
    with torch.no_grad():
        network[:2](torch.randn(1, 8, 7, 7))
        network(x)
    assert all(torch.equal(layer.weight, it) for layer, it in zip(network, expected, strict=True))
    assert all(layer.scratch is scratch for layer in network)
    # What the largest needed is not kept for the small ones.
    assert [it.numel() for it in scratch.values()] == [expected[2].numel()]


def test_two_threads_never_lay_out_in_the_same_memory(monkeypatch):
    network = pack(nn.Sequential(nn.Conv2d(8, 16, 3), nn.Conv2d(8, 16, 3)).requires_grad_(False))
    expected = [layer.weight.clone() for layer in network]
    interrupted, x = [], torch.randn(1, 8, 9, 9)

    class Interrupted(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if "_reorder_convolution_weight" in str(func) and not interrupted:
                interrupted.append(func)
                network[1](x)  # as another thread might
            return func(*args, **(kwargs or {}))

    with torch.no_grad():
        network[0](torch.randn(1, 8, 7, 7))  # which leaves its memory to the next
        with Interrupted():
            network[0](x)
    assert interrupted
    assert all(torch.equal(layer.weight, it) for layer, it in zip(network, expected, strict=True))


def test_gradients_flow_through_a_packed_network():
    torch.manual_seed(0)
    config = {"block_out_channels": (32, 32), "norm_num_groups": 8,
              "down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}  # fmt: skip
    vae = AutoencoderKL.from_config(config).requires_grad_(False)
    gradients = []
    for network in (vae, pack(vae)):
        latents = torch.ones(1, 4, 4, 4, requires_grad=True)
        network.decode(latents).sum().backward()
        gradients.append(latents.grad)
    assert torch.allclose(*gradients, rtol=1e-5, atol=1e-6)


def test_a_network_without_weights_is_left_alone():
    with torch.device("meta"):
        network = nn.Sequential(nn.Linear(2, 2))
    assert type(pack(network)[0]) is nn.Linear


@pytest.mark.parametrize(
    ("keys", "heads", "rows"), [(77, 6, 600), (600, 2, 600), (640, 2, 600), (1760, 1, 595)]
)
def test_attention_in_chunks_is_attention(keys, heads, rows, relative):
    assert min(SCORES_AT_ONCE // keys, 600) == rows
    assert min(SCORES_AT_ONCE // (keys * rows), 6) == heads
    parts = [torch.randn(2, length, 3, 40).transpose(1, 2) for length in (600, keys, keys)]
    expected = F.scaled_dot_product_attention(*parts)
    rounded = [part.bfloat16() for part in parts]
    fused = relative(F.scaled_dot_product_attention(*rounded).float(), expected)
    # The fused kernel keeps scores in float32; these are rounded, and so are the keys once scaled.
    assert relative(attend(*rounded).float(), expected) <= 3 * fused


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_every_precision_is_computed_in_whether_it_can_be_packed_or_not(dtype):
    network = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.Flatten(), nn.Linear(512, 4))
    network.to(dtype).requires_grad_(False)
    x = torch.randn(1, 4, 8, 8, dtype=dtype)
    expected = network(x)
    packs = can_pack(dtype)
    assert torch.allclose(pack(network)(x), expected, atol=100 * torch.finfo(dtype).eps)
    assert isinstance(network[0], PackedConv2d) is packs


def test_a_precision_that_the_processor_lacks_is_left_alone(monkeypatch):
    monkeypatch.setattr("nodes.models.packed.can_pack", lambda dtype: dtype == torch.float32)
    network = nn.Sequential(nn.Conv2d(4, 8, 3), nn.Conv2d(8, 8, 3).half())
    assert packable(network) == {"0.weight"}
    pack(network)
    assert [type(layer) for layer in network] == [PackedConv2d, nn.Conv2d]


def test_what_a_packed_weight_had_mapped_is_given_back():
    released = []
    weights = {"0.weight": torch.randn(8, 4, 3, 3), "0.bias": torch.randn(8)}
    stored = {
        name: StoredTensor(Path("x"), tuple(weight.shape), weight.dtype, weight.clone, partial(released.append, name))
        for name, weight in weights.items()
    }  # fmt: skip
    with torch.device("meta"):
        network = nn.Sequential(nn.Conv2d(4, 8, 3))
    pack(network, load_weights(network, stored, torch.device("cpu")))
    assert released == []
    x = torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        found = network(x)
    assert released == ["0.weight"]
    assert torch.allclose(found, F.conv2d(x, weights["0.weight"], weights["0.bias"]), atol=1e-5)


def test_a_weight_stays_in_its_file_until_it_is_packed():
    reads = []
    weights = {"0.weight": torch.randn(8, 4, 3, 3), "0.bias": torch.randn(8)}

    def stored(name):
        def read():
            reads.append(name)
            return weights[name].clone()

        return StoredTensor(Path("x"), tuple(weights[name].shape), torch.float32, read)

    with torch.device("meta"):
        network = nn.Sequential(nn.Conv2d(4, 8, 3)).bfloat16()
    tensors = {name: stored(name) for name in weights}
    readers = load_weights(network, tensors, torch.device("cpu"), packable(network))
    pack(network, readers)
    assert reads == ["0.bias"]
    assert torch.equal(network[0].weight, weights["0.weight"].bfloat16())
    x = torch.randn(1, 4, 8, 8).bfloat16()
    copied = deepcopy(network)
    with torch.no_grad():
        found = network(x)
        network(x)
        assert torch.equal(copied(x), found)
    assert reads == ["0.bias", *["0.weight"] * 3]
    assert torch.equal(network[0].weight, weights["0.weight"].bfloat16())
    expected = F.conv2d(x, weights["0.weight"].bfloat16(), weights["0.bias"].bfloat16())
    assert torch.allclose(found, expected, atol=0.05)
