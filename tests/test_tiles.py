"""Tiles against the whole: exact where a function looks no further than its tile."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from nodes.image import load_image, to_image, vae_decode, vae_encode
from nodes.load import load_vae
from nodes.models.tiles import _fades, _starts, in_tiles

ROOT = Path(__file__).parent.parent
CPU = torch.device("cpu")


@pytest.mark.parametrize("length", [5, 16, 17, 31, 100])
@pytest.mark.parametrize("tile", [8, 16, 24])
def test_tiles_cover_every_place_with_weights_that_add_up_to_one(length, tile):
    starts = _starts(length, tile)
    total = torch.zeros(length)
    for start, fade in zip(starts, _fades(starts, length, tile), strict=True):
        assert fade.min() > 0
        total[start : start + len(fade)] += fade
    assert torch.allclose(total, torch.ones(length))
    assert starts[0] == 0
    assert starts[-1] + tile >= length


def test_a_function_of_single_places_is_exact():
    x = torch.randn(2, 3, 33, 50)

    def double(part):
        return F.interpolate(part.square(), scale_factor=2, mode="nearest")

    assert torch.allclose(in_tiles(double, x, 16, reads=1, gives=2), double(x))
    halves = in_tiles(lambda part: F.avg_pool2d(part, 2), x[..., :32, :], 8, reads=2, gives=1)
    assert torch.allclose(halves, F.avg_pool2d(x[..., :32, :], 2), atol=1e-6)


@pytest.fixture(scope="module")
def mosaic():
    """A large picture with very different parts: the one of many pictures in the documentation."""
    picture = load_image(str(ROOT / "docs" / "images" / "grid.png"))
    return picture[..., :512, :512]


@pytest.mark.slow
def test_a_trained_autoencoder_in_tiles_is_close_to_the_whole(mosaic):
    vae = load_vae("emoji-64", CPU, torch.float32)
    latents = vae_encode(vae, mosaic, CPU)
    difference = vae_encode(vae, mosaic, CPU, tile=128) - latents
    assert difference.square().mean() <= 0.01 * latents.square().mean()
    whole = vae_decode(vae, latents)

    # Group norm takes its statistics from a tile: that is all that differs. This picture is about
    # the worst for it, as its columns are different pictures on different backgrounds.
    def error(picture):
        level = 255 * (picture - whole)
        return float(level.square().mean().sqrt())

    ours = error(vae_decode(vae, latents, tile=256))
    own = vae.unscaled(latents)
    usual = error(to_image(in_tiles(vae.decode, own, 64, reads=1, gives=vae.factor)))
    print(
        f"root mean square, of 255 levels: {ours:.2f}; with the middle in tiles, too: {usual:.2f}"
    )
    assert ours <= 6.5
    assert ours < usual
    assert torch.equal(vae_decode(vae, latents, tile=512), whole)


def test_pictures_of_a_batch_are_worked_one_by_one(mosaic):
    vae = load_vae("emoji-64", CPU, torch.float32)
    pair = torch.cat((mosaic[..., :192, :192], mosaic[..., 192:384, 192:384]))
    latents = vae_encode(vae, pair, CPU)
    whole = vae_decode(vae, latents, tile=64)
    alone = vae_decode(vae, latents[1:], tile=64)
    assert torch.equal(whole[1:], alone)
