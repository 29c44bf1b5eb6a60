"""Nodes on pictures, masks and latents: what each does to numbers that a person can follow."""

import pytest
import torch
from PIL import Image as Picture

from graph import GraphError, bind, load
from nodes.guidance import edit_guidance
from nodes.image import (
    blur_image,
    contact_sheet,
    crop_image,
    resize_image,
    save_animation,
    save_image,
    to_image,
    to_sample,
)
from nodes.kinds import Schedule, State, Step
from nodes.latents import (
    batch_latents,
    composite_latents,
    crop_latents,
    depth_channel,
    interpolate_latents,
    keep,
    no_latents,
    repeat_latents,
    resize_latents,
    take_latents,
)
from nodes.mask import (
    blur_mask,
    cover,
    grow_mask,
    inpainting_channels,
    load_mask,
    noisy_after_steps,
    paste,
    resize_mask,
    widen,
)
from nodes.noise import noise_like
from nodes.schedule import clean_estimate, split_after
from nodes.schedulers import make_table
from nodes.tiles import blend_tiles, cut_tiles


def plan(name="euler", **options):
    table = make_table({"_class_name": "EulerDiscreteScheduler"}, name, 4, **options)
    return Schedule(table, tuple(Step(row.timestep, row) for row in table.rows()))


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


def test_latents_are_cut_batched_and_taken():
    latents = torch.randn(3, 4, 4, 6)
    assert torch.equal(crop_latents(latents, 1, 2, 4, 2), latents[..., 2:4, 1:5])
    with pytest.raises(ValueError, match="the rectangle ends at 7, 2, and `latents` is 6×4"):
        crop_latents(latents, 3, 0, 4, 2)
    parts = [take_latents(latents, 2), take_latents(latents, count=2)]
    assert torch.equal(batch_latents(parts), latents[[2, 0, 1]])
    with pytest.raises(ValueError, match="`latents` are 3 pictures, 4 are asked for"):
        take_latents(latents, 2, 2)
    with pytest.raises(ValueError, match="one size, found 4×4×5, 4×4×6"):
        batch_latents([latents, latents[..., :5]])
    with pytest.raises(ValueError, match="one size, found none"):
        batch_latents([])


def test_pictures_are_blurred_channel_by_channel():
    image = torch.rand(2, 3, 9, 12)
    whole = blur_image(image, 1.2)
    torch.testing.assert_close(whole[1:, 2:], blur_mask(image[1:, 2:], 1.2))
    assert whole.std() < image.std()


def test_latents_are_resized_put_together_and_repeated():
    latents, other = torch.randn(2, 4, 2, 2), torch.randn(1, 4, 2, 2)
    assert resize_latents(latents, 1.5).shape == (2, 4, 3, 3)
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., :8, :8] = 1
    mixed = composite_latents(latents, other, mask)
    assert torch.equal(mixed[..., 0, 0], latents[..., 0, 0])
    assert torch.equal(mixed[..., 1, :], other.expand(2, -1, -1, -1)[..., 1, :])
    state = keep(State(latents, (torch.ones(1),)), other, mask)
    assert torch.equal(state.sample, mixed)
    assert torch.equal(state.memory[0], torch.ones(1))
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
    for name, draws in (("euler", 1), ("euler_ancestral", 5)):
        first = noise_like(plan(name), sizes[0], seed=5, count=2)
        second = noise_like(plan("euler_ancestral"), sizes[1], seed=5, count=2, after=first)
        generator = torch.Generator().manual_seed(6)
        drawn = [torch.randn(3, 2, 3, generator=generator) for _ in range(draws)]
        assert torch.equal(first.initial[1], drawn[0])
        for ours in (second.initial, *second.fresh):
            assert torch.equal(ours[1], torch.randn(4, 2, 3, generator=generator))
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


def test_pictures_lie_row_by_row_on_a_contact_sheet():
    images = torch.arange(5.0)[:, None, None, None].expand(5, 3, 2, 4) / 10
    sheet = contact_sheet(images, gap=1)
    assert sheet.shape == (1, 3, 5, 14)  # two rows of three
    assert torch.equal(sheet[..., 3:5, 5:9], images[4:])
    assert (sheet[..., 2, :] == 1).all()
    assert contact_sheet(images, columns=5, gap=0).shape == (1, 3, 2, 20)


@pytest.mark.parametrize("ending", ["gif", "webp", "png"])
def test_an_animation_has_a_frame_for_every_picture(tmp_path, ending):
    frames = [torch.full((1, 3, 8, 8), level) for level in (0.0, 0.5, 1.0)]
    path = save_animation(frames, str(tmp_path / f"film.{ending}"), seconds=0.2, hold=1.0)
    with Picture.open(path) as film:
        assert film.n_frames == 3
        durations = []
        for number, level in enumerate((0, 128, 255)):
            film.seek(number)
            assert abs(film.convert("RGB").getpixel((4, 4))[0] - level) <= 2
            durations.append(film.info["duration"])
    assert durations[-1] == pytest.approx(1200) or ending == "webp"
    with pytest.raises(ValueError, match="a frame is one picture, found 2 in one"):
        save_animation([torch.zeros(2, 3, 8, 8)], str(tmp_path / f"film.{ending}"))


@pytest.mark.parametrize("ending", ["gif", "webp", "png"])
def test_an_animation_is_as_large_as_its_first_frame(tmp_path, ending):
    frames = [torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 4, 12)]
    with Picture.open(save_animation(frames, str(tmp_path / f"film.{ending}"))) as film:
        assert (film.size, film.n_frames) == ((8, 8), 2)


@pytest.mark.parametrize(("channels", "ending", "mode"), [
    (1, "png", "L"), (4, "png", "RGBA"), (1, "jpg", "L"), (4, "jpg", "RGB"), (4, "webp", "RGBA"),
])  # fmt: skip
def test_grey_and_see_through_pictures_are_saved(tmp_path, channels, ending, mode):
    (path,) = save_image(torch.rand(1, channels, 8, 8), str(tmp_path / f"x.{ending}"))
    with Picture.open(path) as found:
        assert (found.mode, found.size) == (mode, (8, 8))


def test_an_animation_needs_a_format_that_moves():
    with pytest.raises(GraphError, match=r"must end in a format that moves: .gif, .webp or .png"):
        bind(load("steps-film"), {"prompt": "", "output": "film.jpg"})


@pytest.mark.parametrize(("height", "width"), [(40, 40), (16, 9), (33, 70)])
def test_blended_tiles_are_the_sample(height, width):
    sample = torch.randn(2, 4, height, width)
    tiles = cut_tiles(sample, 16, 5)
    assert len(tiles) % 2 == 0
    assert max(tiles.shape[-2:]) <= 16
    torch.testing.assert_close(blend_tiles(tiles, sample, 16, 5), sample)


def test_tiles_that_disagree_change_into_each_other_without_a_seam():
    sample = torch.zeros(1, 4, 16, 28)
    tiles = cut_tiles(sample, 16, 4)
    assert len(tiles) == 2
    tiles = torch.stack((torch.zeros_like(tiles[0]), torch.ones_like(tiles[1])))
    row = blend_tiles(tiles, sample, 16, 4)[0, 0, 8]
    assert row.tolist() == sorted(row.tolist())
    assert row.diff().max() < 0.25
    with pytest.raises(ValueError, match="there are 1 tiles, expected 2"):
        blend_tiles(tiles[:1], sample, 16, 4)
    with pytest.raises(ValueError, match="`overlap` 16 must be less than the tiles, which are 16"):
        cut_tiles(sample, 16, 16)


def test_the_clean_estimate_undoes_the_noise_that_is_predicted():
    schedule, clean, noise = plan(), torch.randn(1, 4, 2, 2), torch.randn(1, 4, 2, 2)
    for index, step in enumerate(schedule):
        table = schedule.table
        sample = (table.alphas[index] * clean + table.sigmas[index] * noise).float()
        torch.testing.assert_close(clean_estimate(step, sample, noise), clean, rtol=0, atol=1e-4)
