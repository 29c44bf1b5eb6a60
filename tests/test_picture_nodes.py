"""Nodes on pictures, masks and latents: what each does to numbers that a person can follow."""

import pytest
import torch
from PIL import Image as Picture

from nodes.denoise import edit_guidance
from nodes.image import crop_image, resize_image, to_image, to_sample
from nodes.kinds import Schedule, State
from nodes.latents import (
    composite_latents,
    depth_channel,
    interpolate_latents,
    keep,
    no_latents,
    repeat_latents,
    resize_latents,
)
from nodes.mask import (
    blur_mask,
    cover,
    grow_mask,
    inpainting_channels,
    load_mask,
    paste,
    resize_mask,
    widen,
)
from nodes.noise import noise_like
from nodes.schedule import noisy_after_steps, split_after
from nodes.schedulers import make_table


def plan(name="euler", **options):
    table = make_table({"_class_name": "EulerDiscreteScheduler"}, name, 4, **options)
    return Schedule(table, tuple(table.rows()))


def square(size=9, low=3, high=6):
    mask = torch.zeros(1, 1, size, size)
    mask[..., low:high, low:high] = 1
    return mask


def test_a_picture_is_resized_to_sides_that_latents_have():
    image = torch.rand(1, 3, 45, 70)
    assert resize_image(image).shape == (1, 3, 40, 64)
    assert resize_image(image, width=32).shape == (1, 3, 40, 32)
    assert torch.equal(resize_image(image[..., :40, :64]), image[..., :40, :64])
    with pytest.raises(ValueError, match="smaller than 64 pixels: give `width` and `height`"):
        resize_image(image, multiple=64)


def test_cropping_keeps_proportions_and_the_middle():
    image = torch.zeros(1, 1, 32, 96)
    image[..., 32:64] = 1
    assert torch.equal(resize_image(image, 16, 16, crop=True), torch.ones(1, 1, 16, 16))
    assert resize_image(image, 16, 16).min() == 0
    assert torch.equal(crop_image(image, 30, 0, 4, 1)[0, 0, 0], torch.tensor([0.0, 0, 1, 1]))
    with pytest.raises(ValueError, match="the rectangle ends at 100, 1, and `image` is 96×32"):
        crop_image(image, 90, 0, 10, 1)


def test_a_mask_is_loaded_fitted_grown_and_softened(tmp_path):
    file = Picture.new("L", (4, 2))
    file.putpixel((3, 0), 255)
    file.save(tmp_path / "mask.png")
    mask = load_mask(str(tmp_path / "mask.png"))
    assert mask.tolist() == [[[[0, 0, 0, 1], [0, 0, 0, 0]]]]
    assert resize_mask(mask, torch.zeros(1, 3, 4, 8)).sum() == 4
    assert resize_mask(mask, torch.zeros(1, 3, 1, 2)).tolist() == [[[[0, 0]]]]

    assert torch.equal(grow_mask(square(), 2), square(9, 1, 8))
    assert torch.equal(grow_mask(square(), -1), square(9, 4, 5))
    soft = blur_mask(square(41, 10, 31), 2.0)
    assert soft[0, 0, 20, 20] == pytest.approx(1)
    assert soft[0, 0, 20, 2] == pytest.approx(0)
    assert soft[0, 0, 20, 9:11].mean() == pytest.approx(0.5)
    assert torch.equal(
        blur_mask(torch.ones(1, 1, 5, 5), 4.0).round(decimals=5), torch.ones(1, 1, 5, 5)
    )


def test_covering_and_pasting_follow_the_mask():
    image, other = torch.rand(1, 3, 9, 9), torch.rand(2, 3, 9, 9)
    inside = square()[0, 0].bool()
    covered = cover(image, square())
    assert (covered[..., inside] == 0.5).all()
    assert torch.equal(covered[..., ~inside], image[..., ~inside])
    pasted = paste(other, image, square())
    assert torch.equal(pasted[..., inside], other[..., inside])
    assert torch.equal(pasted[..., ~inside], image.expand(2, -1, -1, -1)[..., ~inside])
    with pytest.raises(ValueError, match="`mask` is 9×9, the picture is 8×8: resize_mask fits it"):
        cover(image[..., :8, :8], square())
    with pytest.raises(ValueError, match="`image` is 9×9, `onto` is 8×9"):
        paste(other, image[..., :8], square())


def test_a_widened_picture_has_its_room_and_overlap_masked():
    image, mask = widen(torch.rand(1, 3, 4, 6), left=2, bottom=1, overlap=1)
    assert image.shape == (1, 3, 5, 8)
    assert torch.equal(image[..., :4, 0], image[..., :4, 2])
    assert mask[0, 0].tolist() == [[1, 1, 1, 0, 0, 0, 0, 0]] * 3 + [[1] * 8] * 2
    with pytest.raises(ValueError, match="`overlap` 3 leaves nothing of `image`, which is 6×4"):
        widen(image[..., :4, :6], left=1, right=1, overlap=3)


def test_inpainting_networks_read_the_mask_before_the_covered_picture():
    covered = torch.randn(1, 4, 2, 2)
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., :8, 8:] = 1
    channels = inpainting_channels(mask, covered)
    assert channels[0, 0].tolist() == [[0, 1], [0, 0]]
    assert torch.equal(channels[:, 1:], covered)


def test_latents_are_resized_put_together_and_repeated():
    latents, other = torch.randn(2, 4, 2, 2), torch.randn(1, 4, 2, 2)
    assert resize_latents(latents, 1.5).shape == (2, 4, 3, 3)
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., :8, :8] = 1
    mixed = composite_latents(latents, other, mask)
    assert torch.equal(mixed[..., 0, 0], latents[..., 0, 0])
    assert torch.equal(mixed[..., 1, :], other.expand(2, -1, -1, -1)[..., 1, :])
    state = keep(State(latents, torch.ones(1)), other, mask)
    assert torch.equal(state.sample, mixed)
    assert torch.equal(state.memory, torch.ones(1))
    assert torch.equal(repeat_latents(latents, 2), torch.cat((latents, latents)))
    with pytest.raises(ValueError, match="`latents` is 2×2, `onto` is 3×3"):
        composite_latents(latents, torch.zeros(1, 4, 3, 3), mask)


def test_between_two_noises_lies_noise_of_the_same_strength():
    first, second = torch.randn(2, 1, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    for amount in (0.0, 0.3, 0.5, 1.0):
        assert interpolate_latents(first, second, amount).std() == pytest.approx(1, abs=0.02)
    assert torch.lerp(first, second, 0.5).std() < 0.75
    torch.testing.assert_close(interpolate_latents(first, second, 0.0), first)
    torch.testing.assert_close(interpolate_latents(first, second, 1.0), second)
    torch.testing.assert_close(interpolate_latents(first, first, 0.4), first)
    torch.testing.assert_close(interpolate_latents(first, -first, 0.0), first)


def test_what_is_kept_follows_the_noise_of_the_sample_and_ends_clean():
    schedule, latents, noise = plan(), torch.randn(1, 4, 2, 2), torch.randn(1, 4, 2, 2)
    kept = list(noisy_after_steps(schedule, latents, noise))
    assert len(kept) == len(schedule) == 4
    table = schedule.table
    for index in range(3):
        expected = table.alphas[index + 1] * latents + table.sigmas[index + 1] * noise
        torch.testing.assert_close(kept[index], expected.float())
    assert torch.equal(kept[-1], latents)
    parts = split_after(schedule, 2)
    halves = [list(noisy_after_steps(part, latents, noise)) for part in parts]
    assert all(map(torch.equal, kept, halves[0] + halves[1]))


def test_noise_like_latents_is_a_noise_for_every_seed():
    drawn = noise_like(plan(), torch.zeros(1, 4, 2, 3), seed=5, count=2).initial
    alone = noise_like(plan(), torch.zeros(1, 4, 2, 3), seed=6).initial
    assert drawn.shape == (2, 4, 2, 3)
    assert torch.equal(drawn[1:], alone)


def test_noise_after_another_of_the_same_seeds_is_another():
    sizes = torch.zeros(1, 3, 2, 3), torch.zeros(1, 4, 2, 3)
    first = noise_like(plan(), sizes[0], seed=5, count=2)
    second = noise_like(plan("euler_ancestral"), sizes[1], seed=5, count=2, after=first)
    generator = torch.Generator().manual_seed(6)
    drawn = [torch.randn(shape, generator=generator) for shape in ((3, 2, 3), *[(4, 2, 3)] * 3)]
    assert torch.equal(first.initial[1], drawn[0])
    assert torch.equal(second.initial[1], drawn[1])
    fresh = list(second.fresh)[:2]
    assert all(torch.equal(one[1], other) for one, other in zip(fresh, drawn[2:], strict=True))
    with pytest.raises(ValueError, match=r"`after` has the seeds \[5, 6\], this noise \[5\]"):
        noise_like(plan(), sizes[1], seed=5, after=first)


def test_a_depth_map_is_stretched_over_its_range():
    depth = torch.tensor([[0.2, 0.3], [0.4, 0.6]]).expand(1, 3, 2, 2)
    found = depth_channel(depth, torch.zeros(1, 4, 2, 2))
    torch.testing.assert_close(found, torch.tensor([[[[-1.0, -0.5], [0.0, 1.0]]]]))
    assert torch.equal(
        depth_channel(depth[..., :1, :1], torch.zeros(1, 4, 2, 2)), torch.zeros(1, 1, 2, 2)
    )


def test_guidance_of_edits_without_its_scales_is_what_was_told():
    text, image, uncond = torch.randn(3, 1, 4, 2, 2)
    torch.testing.assert_close(edit_guidance(text, image, uncond, 1, 1), text)
    torch.testing.assert_close(edit_guidance(text, image, uncond, 0, 1), image)
    torch.testing.assert_close(edit_guidance(text, image, uncond, 0, 0), uncond)
    assert not no_latents(image).any()


def test_pixels_and_pictures_are_each_others_inverse():
    image = torch.rand(1, 3, 4, 4)
    torch.testing.assert_close(to_image(to_sample(image, torch.device("cpu"))), image)
