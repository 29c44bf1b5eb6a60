"""Convolutions with fewer products give what convolutions give."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.unet import CONFIG, inputs, operations
from nodes.models import UNet2DConditionModel, winograd
from nodes.models.layers import Upsample2D
from nodes.models.packed import PackedConv2d, can_pack
from nodes.models.winograd import pays, transform_weight

WIDE = 128
CLOSE = 2e-2  # the largest of many roundings of bfloat16, which has 0.004 between neighbours


def doubled(x):
    return F.interpolate(x, scale_factor=2.0)


@pytest.mark.parametrize("at_once", [2**22, 1], ids=["whole", "row by row"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("twice", "shape"),
    [(False, (2, 5, 6, 10)), (False, (1, 5, 2, 2)), (True, (2, 5, 3, 7)), (True, (1, 5, 1, 1))],
)
def test_fewer_products_make_the_same_sums(twice, shape, bias, at_once, relative, monkeypatch):
    monkeypatch.setattr(winograd, "AT_ONCE", at_once)
    monkeypatch.setattr(winograd, "ROWS_AT_ONCE", 4)
    x, weight = torch.randn(shape), torch.randn(3, 5, 3, 3)
    added = torch.randn(3) if bias else None
    expected = F.conv2d(doubled(x) if twice else x, weight, added, padding=1)
    made = winograd.winograd(x, transform_weight(weight, x.dtype, twice), added, twice)
    assert relative(made, expected) <= 2e-6
    assert made.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("twice", [False, True])
def test_the_error_of_fewer_products_in_bfloat16(twice, relative):
    torch.manual_seed(0)
    x = torch.randn(2, WIDE, 16, 16).bfloat16()
    weight = torch.randn(WIDE, WIDE, 3, 3) / (9 * WIDE) ** 0.5
    seen = doubled(x) if twice else x
    exact = F.conv2d(seen.float(), weight, padding=1)
    plain = relative(F.conv2d(seen, weight.bfloat16(), padding=1).float(), exact)
    sums = transform_weight(weight, x.dtype, twice)
    found = relative(winograd.winograd(x, sums, None, twice).float(), exact)
    print(f"\nerror of fewer products {found:.1e}, of all {plain:.1e}")
    # Sums of up to four pixels and of nine weights are rounded, and what becomes of them.
    assert found <= 3.5 * plain


@pytest.mark.parametrize(
    ("shape", "outputs", "twice", "dtype", "expected"),
    [
        ((2, 320, 32, 32), 320, False, torch.bfloat16, True),
        ((2, 320, 32, 31), 320, False, torch.bfloat16, False),  # patches overlap by two
        ((2, 320, 32, 31), 320, True, torch.bfloat16, True),
        ((2, 320, 32, 32), 320, False, torch.float32, False),
        ((2, 320, 32, 32), 320, True, torch.float32, True),
        ((2, 1280, 16, 16), 1280, False, torch.bfloat16, False),  # 20 MB more a layer
        ((2, 1280, 16, 16), 1280, True, torch.bfloat16, True),
        ((2, 640, 4, 4), 640, False, torch.bfloat16, False),  # products of 8 rows
        ((2, 640, 4, 4), 640, True, torch.bfloat16, True),
        ((2, 320, 32, 32), 4, False, torch.bfloat16, False),
        ((2, 64, 32, 32), 64, True, torch.bfloat16, False),
    ],
)
def test_where_fewer_products_pay(shape, outputs, twice, dtype, expected):
    x = torch.empty(shape, dtype=dtype, device="meta")
    assert pays(x, outputs, twice) is expected
    assert pays(x[:1], outputs, twice) is expected  # a picture is the same by itself


@pytest.mark.skipif(not can_pack(torch.bfloat16), reason="this processor packs no bfloat16")
def test_a_packed_layer_keeps_the_weight_whose_sums_it_uses(relative):
    torch.manual_seed(0)
    layer = nn.Conv2d(WIDE, WIDE, 3, padding=1).bfloat16().requires_grad_(False)
    reads = []
    ours = PackedConv2d(layer, lambda: reads.append("file") or layer.weight.clone())
    large, small = (torch.randn(2, WIDE, side, side).bfloat16() for side in (16, 6))
    for x, kept in ((large, True), (large, True), (small, False), (large, True)):
        assert relative(ours(x), layer(x)) <= CLOSE
        assert (ours.sums is not None) is kept
        assert torch.equal(ours.weight, layer.weight)
    # It stays in its file beside its sums, and is kept in blocks once it is packed.
    assert reads == ["file"] * 4
    assert relative(ours(large, True), layer(doubled(large))) <= CLOSE
    assert relative(ours(large), layer(large)) <= CLOSE
    other = ours.with_weight(2 * layer.weight)
    twice = F.conv2d(large, 2 * layer.weight, layer.bias, padding=1)
    assert relative(other(large), twice) <= CLOSE
    assert torch.equal(ours.float().weight, layer.weight.float())
    assert ours.sums is None


@pytest.mark.parametrize(("size", "share"), [(256, 0.23), (512, 0.21)])
def test_operations_that_stable_diffusion_saves(size, share):
    with torch.device("meta"):
        network = UNet2DConditionModel.from_config(CONFIG).bfloat16()
    upsamplers = [it for it in network.modules() if isinstance(it, Upsample2D)]
    saved = []

    def count(twice, layer, given, result):
        if pays(result[:, :, ::2, ::2] if twice else result, layer.in_channels, twice):
            saved.append(2 * 9 * layer.in_channels * result.numel() * (3 / 4 if twice else 5 / 9))

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and (layer.kernel_size, layer.stride) == ((3, 3), (1, 1)):
            twice = any(layer is it.conv for it in upsamplers)
            layer.register_forward_hook(partial(count, twice))
    sample, noise_level, text = inputs(size, "meta")
    network(sample.repeat(2, 1, 1, 1).bfloat16(), noise_level, text.bfloat16())
    found = sum(saved) / operations(CONFIG, size)
    print(f"\nfewer products at {size} px: {found:.1%} fewer operations, in {len(saved)} layers")
    assert found == pytest.approx(share, abs=0.005)
