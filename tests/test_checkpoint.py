"""A run that was ended goes on where it stood, bit for bit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image as Picture

import nodes
from graph import GraphError, load
from runtime import Session, StepFinished
from runtime.checkpoint import Checkpoint, read_run
from runtime.cli import main

ROOT = Path(__file__).parent.parent
assert nodes.__all__

RUN = {"model": "emoji-32", "steps": 6}


class Ended(Exception):
    pass


def end_after(step):
    def listen(event):
        if isinstance(event, StepFinished) and event.index + 1 == step:
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
    listen = lambda event: steps.append(event.index) if isinstance(event, StepFinished) else None  # noqa: E731
    again = Checkpoint(Path("a.checkpoint"), 2, resuming=True)
    Session("cpu", "float32", listen, cache=None, checkpoint=again)(load("ddpm"), **RUN)
    assert steps == [4, 5]


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
    assert "run-graph resume counting.checkpoint    # goes on from there" in done.stderr
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


def test_what_is_no_checkpoint_is_refused(here, capsys):
    Path("a.checkpoint").write_text(json.dumps({}))
    assert main(["resume", "a.checkpoint"]) == 2
    assert "a.checkpoint is no checkpoint: " in capsys.readouterr().err
