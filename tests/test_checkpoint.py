"""A run that was ended goes on where it stood, bit for bit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image as Picture

import nodes
import runtime.cli.resume
from graph import GraphError, load, load_text
from runtime import Session, StepFinished
from runtime.cache.value_files import read_texts
from runtime.checkpoint import Checkpoint, read_run
from runtime.cli import main

ROOT = Path(__file__).parent.parent
assert nodes.__all__

RUN = {"model": "emoji-32", "steps": 6}


class Ended(Exception):
    pass


def end_after(step):
    def listen(event):
        if isinstance(event, StepFinished) and event.done == step:
            raise Ended

    return listen


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pixels(file):
    with Picture.open(file) as picture:
        return picture.tobytes()


@pytest.mark.parametrize(("step", "scheduler"), [(4, "auto"), (5, "lms")])
def test_what_a_kill_left_goes_on_to_the_same_picture(here, step, scheduler):
    run = RUN | {"scheduler": scheduler}
    Session("cpu", "float32", cache=None)(load("ddpm"), **run, output="whole.png")
    session = Session(
        "cpu",
        "float32",
        end_after(step),
        cache=None,
        checkpoint=Checkpoint(Path("a.checkpoint"), 2),
    )
    with pytest.raises(Ended):
        session(load("ddpm"), **run, output="rest.png")
    assert not Path("rest.png").exists()
    assert main(["resume", "a.checkpoint"]) == 0
    assert pixels("rest.png") == pixels("whole.png")
    assert not Path("a.checkpoint").exists(), "a run that is done needs none"


def test_a_resumed_run_makes_the_rest_alone(here):
    checkpoint = Checkpoint(Path("a.checkpoint"), 2)
    with pytest.raises(Ended):
        Session("cpu", "float32", end_after(5), cache=None, checkpoint=checkpoint)(
            load("ddpm"), **RUN
        )
    steps = []
    listen = lambda event: steps.append(event.done) if isinstance(event, StepFinished) else None  # noqa: E731
    again = Checkpoint(Path("a.checkpoint"), 2, resuming=True)
    Session("cpu", "float32", listen, cache=None, checkpoint=again)(load("ddpm"), **RUN)
    assert steps == [5, 6]


OWN = """
import os, signal
from graph import node

@node
def count(number: float, step: int) -> float:
    'Count, and press Ctrl-C once.'
    if step == 4 and not os.path.exists('pressed'):
        open('pressed', 'w').close()
        os.kill(os.getpid(), signal.SIGINT)
    return number + step
"""
COUNTING = """
inputs: {steps: [1, 2, 3, 4, 5, 6]}
nodes:
  loop:
    for: {step: $steps}
    carry: {number: {from: 0.5, then: $next}}
    nodes: {next: {node: count, number: $number, step: $step}}
    collect: {all: $next}
  last: {node: count, number: $loop.number, step: 0}
outputs: {number: $last}
"""


@pytest.mark.slow
def test_ctrl_c_keeps_the_state_where_it_is_asked_to(here):
    (here / "own.py").write_text(OWN)
    (here / "counting.yaml").write_text(COUNTING)

    def run(*words):
        return subprocess.run(
            [sys.executable, "-m", "runtime.cli", *words, "--nodes", "own.py"],
            capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    done = run("counting.yaml", "--checkpoint-every", "100")
    assert done.returncode == 130
    assert (
        "interrupted after step 4 of 6 of 'loop'\n"
        "run-graph resume counting.checkpoint --nodes own.py    # goes on from there\n"
    ) in done.stderr
    record, every = read_run(Path("counting.checkpoint"))
    assert (record.inputs["steps"], every) == ([1, 2, 3, 4, 5, 6], 100)
    done = run("resume", "counting.checkpoint")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "number: 21.5\n"
    assert "loop: 6 steps" in done.stderr


def test_other_inputs_do_not_go_on_from_it(here):
    checkpoint = Checkpoint(Path("a.checkpoint"), 2)
    with pytest.raises(Ended):
        Session("cpu", "float32", end_after(4), cache=None, checkpoint=checkpoint)(
            load("ddpm"), **RUN
        )
    again = Checkpoint(Path("a.checkpoint"), 2, resuming=True)
    with pytest.raises(GraphError, match="was written by a run with other files, code or inputs"):
        Session("cpu", "float32", cache=None, checkpoint=again)(load("ddpm"), **RUN | {"seed": 9})


def test_a_second_loop_goes_on_after_the_first_has_run_anew(here):
    run = {"model": "emoji-64", "second": "emoji-64", "prompt": "a fox", "steps": 4}
    file, ended = Path("a.checkpoint"), []

    def session(loop, step, resuming):
        def listen(event):
            if isinstance(event, StepFinished):
                ended.append((event.loop.name, event.done))
            if isinstance(event, StepFinished) and ended[-1] == (loop, step):
                raise Ended

        checkpoint = Checkpoint(file, 1, resuming)
        return Session("cpu", "float32", listen, cache=None, checkpoint=checkpoint)

    loops = "composed/denoise", "finished/denoise"
    for loop, step, resuming in ((loops[1], 1, False), (loops[0], 1, True), (loops[0], 2, True)):
        with pytest.raises(Ended):
            session(loop, step, resuming)(load("two-models"), **run)
        assert read_texts(file)["loop"] == loops[1]
    ended.clear()
    resumed = session("", 0, True)(load("two-models"), **run)["image"]
    assert ended == [(loops[0], 1), (loops[0], 2), (loops[1], 2)]
    assert torch.equal(resumed, Session("cpu", "float32")(load("two-models"), **run)["image"])


def test_a_loop_that_carries_networks_is_not_written(here):
    steps = []

    def listen(event):
        if isinstance(event, StepFinished):
            steps.append(event.loop.name)

    carrying = """
nodes:
  unet: {node: load_unet, model: emoji-64}
  changed:
    for: {amount: [[1.0, 1.0], [2.0, 2.0]]}
    carry: {model: {from: $unet, then: $next}}
    nodes: {next: {node: free_u, model: $model, backbone: $amount}}
outputs: {model: $changed.model}
"""
    checkpoint = Checkpoint(Path("a.checkpoint"), 1)
    Session("cpu", "float32", listen, cache=None, checkpoint=checkpoint)(load_text(carrying))
    assert steps == ["changed", "changed"]
    assert not Path("a.checkpoint").exists()
    assert not checkpoint.write()


def test_a_checkpoint_that_cannot_be_written_ends_no_run(here, caplog):
    checkpoint = Checkpoint(Path("there/a.checkpoint"), 3)
    Path("there").write_text("a file, no folder")
    made = Session("cpu", "float32", cache=None, checkpoint=checkpoint)(load("ddpm"), **RUN)
    assert made["image"].shape == (1, 3, 32, 32)
    assert caplog.text.count("there/a.checkpoint cannot be written: [Errno 17] File exists") == 2


def test_after_no_steps_nothing_is_written(here, capsys):
    assert main(["ddpm", "--checkpoint-every", "0"]) == 2
    assert capsys.readouterr().err == (
        "error: --checkpoint-every: after 0 steps there is nothing\n"
    )


def test_who_goes_on_with_another_library_is_told(here, capsys, monkeypatch):
    checkpoint = Checkpoint(Path("a.checkpoint"), 2)
    with pytest.raises(Ended):
        Session("cpu", "float32", end_after(5), cache=None, checkpoint=checkpoint)(
            load("ddpm"), **RUN
        )
    monkeypatch.setattr(
        runtime.cli.resume,
        "library_versions",
        lambda: read_run(checkpoint.file)[0].versions | {"torch": "1.13"},
    )
    assert main(["resume", "a.checkpoint"]) == 0
    wanted = f"torch: was {torch.__version__}, is 1.13: the last bits may be others\n"
    assert capsys.readouterr().err.startswith(wanted)


def test_what_is_no_checkpoint_is_refused(here, capsys):
    Path("a.checkpoint").write_text(json.dumps({}))
    assert main(["resume", "a.checkpoint"]) == 2
    assert "a.checkpoint is no checkpoint: " in capsys.readouterr().err
