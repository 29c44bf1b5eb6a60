"""The invisible watermark: the oracle's, and read by the library."""

import sys

import pytest
import torch
import torch.nn.functional as F

from nodes.watermark import SDXL, watermark

library = pytest.importorskip("imwatermark", reason="needs the extra watermark")


@pytest.fixture
def image():
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(2, 3, 6, 8, generator=generator)
    soft = F.interpolate(coarse, (256, 320), mode="bicubic").clamp(0, 1)
    return (0.3 + 0.4 * soft + 0.2 * torch.randn(soft.shape, generator=generator)).clamp(0, 1)


def test_the_mark_is_the_oracles(image, relative):
    from diffusers.pipelines.stable_diffusion_xl.watermark import StableDiffusionXLWatermarker

    marked = watermark(image)
    expected = StableDiffusionXLWatermarker().apply_watermark(2 * image - 1) / 2 + 0.5
    assert relative(marked, expected) < 1e-4
    assert 0.001 < (marked - image).abs().mean() < 0.05


@pytest.mark.parametrize("bits", [SDXL, SDXL[::-1]])
def test_the_mark_is_read_from_a_file_of_8_bits(image, bits):
    pixels = (255 * watermark(image, bits)).round().to(torch.uint8)
    for picture in pixels.permute(0, 2, 3, 1).flip(3):
        found = library.WatermarkDecoder("bits", len(bits)).decode(picture.numpy(), "dwtDct")
        right = sum(int(bit) == int(wanted) for bit, wanted in zip(found, bits, strict=True))
        assert right >= 0.85 * len(
            bits
        )  # its reader errs in blocks of little texture; chance is a half


def test_small_pictures_and_a_missing_library_are_told(image, monkeypatch):
    with pytest.raises(ValueError, match="`image` is 320×100, a watermark needs as much as 256×"):
        watermark(image[..., :100, :])
    monkeypatch.setitem(sys.modules, "imwatermark", None)
    with pytest.raises(ImportError, match=r"pip install 'run-graph\[watermark\]'"):
        watermark(image)
