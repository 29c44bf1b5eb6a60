"""What holds at some steps only, or in some part of the picture only, alone and in graphs."""

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline, UniPCMultistepScheduler

import nodes
from graph import load
from nodes.kinds import SchedulerConfig
from nodes.region import box_mask, each_step, mix_regions
from nodes.schedule import schedule, split_after
from runtime import RunError, Session

assert nodes.__all__  # importing registers the node types
EMOJI = Path(nodes.__file__).parent.parent / "graphs" / "checkpoints" / "emoji-64"
CPU = torch.device("cpu")
LEVELS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def steps(count, scheduler="euler"):
    return schedule(SchedulerConfig(LEVELS), CPU, scheduler, count)


@pytest.mark.parametrize(
    ("starts", "expected"),
    [
        ([0], "aaaaaaaaaa"),
        ([0, 0.5], "aaaaabbbbb"),
        ([0, 0.25, 0.45], "aaabbccccc"),
        ([0, 0.01, 0.95], "abbbbbbbbb"),
    ],
)
def test_a_value_begins_when_its_part_of_the_steps_is_done(starts, expected):
    names = list("abc"[: len(starts)])
    assert "".join(each_step(steps(10), names, starts)) == expected


def test_parts_of_a_schedule_go_on_with_the_values_of_the_whole():
    parts = split_after(steps(10), 4)
    found = [each_step(part, ["a", "b"], [0, 0.5]) for part in parts]
    assert ["".join(names) for names in found] == ["aaaa", "abbbbb"]


def test_a_step_of_two_calls_is_as_long_as_the_schedule():
    heun = steps(6, "heun")
    assert len(each_step(heun, ["a", "b"], [0, 0.5])) == len(heun) == 11


@pytest.mark.parametrize(
    ("values", "starts", "message"),
    [
        (["a"], [0, 0.5], "there are 1 values and 2 `starts`"),
        (
            ["a", "b"],
            [0, 1.0],
            r"`starts` must begin with 0 and rise, all below 1, found \[0, 1.0\]",
        ),
        (["a", "b"], [0, -0.2], "all below 1, found"),
        (["a", "b"], [0.1, 0.2], "must begin with 0"),
        ([], [], "must begin with 0"),
    ],
)
def test_starts_that_make_no_sense_are_told_in_words(values, starts, message):
    with pytest.raises(ValueError, match=message):
        each_step(steps(4), values, starts)


def test_a_box_marks_the_latents_it_covers():
    latents = torch.zeros(2, 4, 4, 8)
    left, cut = box_mask(latents, (0, 0, 0.5, 1)), box_mask(latents, (0.25, 0.5, 0.8125, 0.625))
    assert left.shape == (1, 1, 4, 8)
    assert left[0, 0].tolist() == [[1, 1, 1, 1, 0, 0, 0, 0]] * 4
    assert cut[0, 0, 2].tolist() == [0, 0, 0.5, 0.5, 0.5, 0.5, 0.25, 0]
    assert cut[0, 0, [0, 1, 3]].eq(0).all()


def test_predictions_are_mixed_by_any_mask():
    one, other = torch.ones(2, 4, 2, 4), torch.zeros(2, 4, 2, 4)
    picture = torch.zeros(1, 1, 16, 32)
    picture[..., :12] = 1
    assert mix_regions(one, other, picture)[1, 3].tolist() == [[1, 0.5, 0, 0]] * 2


def run(graph, path, **inputs):
    return Session("cpu", "float32")(
        load(graph), model="emoji-64", steps=4, seed=7, output=str(path / "picture.png"), **inputs
    )["image"]


@pytest.mark.slow
@pytest.mark.parametrize("when", [0.25, 0.75])
def test_a_prompt_that_changes_is_what_the_oracle_draws(tmp_path, when, relative):
    theirs = StableDiffusionPipeline.from_pretrained(EMOJI, dtype=torch.float32)
    theirs.scheduler = UniPCMultistepScheduler.from_config(theirs.scheduler.config)
    theirs.set_progress_bar_config(disable=True)
    second = torch.cat(theirs.encode_prompt("a cat", "cpu", 1, True)[::-1])

    def change(_pipeline, done, _time, tensors):
        return {"prompt_embeds": second} if (done + 1) / 4 >= when else tensors

    expected = theirs(
        "a red heart", num_inference_steps=4, generator=torch.Generator().manual_seed(7),
        output_type="pt", callback_on_step_end=change,
        callback_on_step_end_tensor_inputs=["prompt_embeds"],
    ).images  # fmt: skip
    found = run(
        "prompt-schedule", tmp_path,
        prompt="a red heart", then="a cat", when=when,
    )  # fmt: skip
    assert relative(found, expected) <= 1e-4


def test_a_change_at_no_sensible_step_is_told_at_its_place(tmp_path):
    with pytest.raises(RunError, match="must begin with 0 and rise, all below 1, found"):
        run("prompt-schedule", tmp_path, prompt="a", then="b", when=1.5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        (((0, 0, 0.5, 1), (0, 0, 1, 1)), "two"),
        (((0, 0, 1, 1), (0, 0, 0.5, 1)), None),
        (((0, 0, 1e-9, 1), (0, 0, 1e-9, 1)), "whole"),
    ],
)
def test_a_region_that_is_all_of_the_picture_draws_it_alone(tmp_path, boxes, expected, relative):
    texts = {"prompt": "a red heart", "first": "two cats", "second": "three dogs"}
    alone = {"whole": "a red heart", "two": "three dogs", None: "two cats"}[expected]
    first_box, second_box = boxes
    found = run(
        "regional", tmp_path,
        first_box=first_box, second_box=second_box, **texts,
    )  # fmt: skip
    picture = run("sd15", tmp_path, prompt=alone)
    if expected:
        assert relative(found, picture) <= 1e-5
    else:  # the second box lies on the first
        assert relative(found, picture) > 1e-3
