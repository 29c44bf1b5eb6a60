"""A smoke test of the training recipe: every stage for two steps, stopped, resumed, written, drawn."""

from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw

from runtime.cli import main
from tools.emoji import pictures, score, train
from tools.emoji.captions import variants
from tools.emoji.muon import orthogonal


def disc(name: str, size: int) -> Image.Image:
    """Stand in for an emoji: a disc of a colour of its own. The font is not shipped."""
    square = Image.new("RGBA", (size, size))
    number = list(pictures.OBJECTS).index(name)
    ImageDraw.Draw(square).ellipse(
        (2, 2, size - 2, size - 2), fill=(5 * number, 255 - 5 * number, 90)
    )
    return square


@pytest.fixture
def without_font(monkeypatch):
    monkeypatch.setattr(pictures, "glyph", disc)


@pytest.mark.slow
def test_the_recipe(tmp_path, monkeypatch, without_font):
    folder, out = tmp_path / "training", tmp_path / "checkpoints"
    for stage in train.STEPS:
        train.run_stage(stage, folder, steps=1, minutes=1)
        train.run_stage(stage, folder, steps=2, minutes=1)
        assert torch.load(folder / f"{stage}.pt", weights_only=True)["step"] == 2
    train.export(folder, out / "emoji-64")
    train.export_pixels(folder, out / "emoji-32")
    monkeypatch.chdir(tmp_path)
    assert main(["emoji", "output=a.png", "steps=1"]) == 0
    assert (
        main(["sd15", f"model={out / 'emoji-64'}", "prompt=a cat", "steps=1", "output=b.png"]) == 0
    )
    assert main(["ddpm", f"model={out / 'emoji-32'}", "steps=2", "output=c.png"]) == 0
    for name, side in (("a", 64), ("b", 64), ("c", 32)):
        with Image.open(f"{name}.png") as picture:
            assert picture.size == (side, side)
    weights = sum(path.stat().st_size for path in (out / "emoji-64").rglob("*") if path.is_file())
    assert weights <= 16e6


@pytest.mark.slow
def test_scores_are_right_for_perfect_and_for_wrong_pictures(without_font):
    scenes = [scene for scene in pictures.SCENES if pictures.is_held_out(scene)][::43]
    perfect = pictures.to_tensor(map(pictures.draw, scenes)) / 255
    assert score.score(perfect, scenes) == (1, 1, 1)
    assert score.score(perfect.roll(1, 0), scenes)[0] == 0
    assert score.score(1 - perfect, scenes)[2] < 1


def test_held_out_scenes_are_a_seventh():
    held = [scene for scene in pictures.SCENES if pictures.is_held_out(scene)]
    assert len(held) == pytest.approx(len(pictures.SCENES) / 7, rel=0.01)
    for part in ("object", "colour", "arrangement"):
        kept = {getattr(scene, part) for scene in pictures.SCENES if scene not in held}
        assert kept == {getattr(scene, part) for scene in pictures.SCENES}


def test_captions():
    scene = pictures.Scene("apple", "orange", "left")
    assert pictures.caption(scene) == "an apple on the left on an orange background"
    assert "an emoji of an apple on the left, orange background" in variants(scene)
    assert (
        pictures.caption(pictures.Scene("cherry", "red", "two"))
        == "two cherries on a red background"
    )
    assert "an apple" in variants(pictures.Scene("apple", "white", "one"))


def test_muon_steps_have_singular_values_near_one():
    values = torch.linalg.svdvals(orthogonal(torch.randn(16, 40)).double())
    assert values.min() > 0.5
    assert values.max() < 1.5


def test_the_embedded_checkpoints_are_small():
    for name, limit in (("emoji-64", 16e6), ("emoji-32", 8e6)):
        folder = Path(__file__).parent.parent / "graphs" / "checkpoints" / name
        assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= limit
