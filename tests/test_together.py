"""Several runs as one: loops in step, calls on a batch, equal outputs, a record that says so."""

from pathlib import Path
from typing import Annotated

import pytest
import torch
from torch import Tensor

import nodes
from graph import Kind, Loop, Registry, bind, calls_of, load, load_text
from nodes.metadata import read_record
from runtime import NodeStarted, RunError, Session
from runtime.plan import plan_together
from runtime.plan.loops import merge_loops
from runtime.provenance.compare import drift, parse_record

assert nodes.__all__
registry = Registry()
node = registry.node
Sample = Annotated[Tensor, Kind("sample", "B C")]


@node
def begin(seed: int) -> Sample:
    """Begin."""
    return torch.randn(1, 4, generator=torch.Generator().manual_seed(seed))


@node
def steps_of(steps: int) -> list[float]:
    """List the steps."""
    return [step / 4 for step in range(steps)]


@node(batched=True)
def network(sample: Sample, time: float) -> Sample:
    """Predict."""
    if sample.abs().max() > 1e6:
        raise ValueError("too large")
    return sample * 2 - time


@node
def is_done(sample: Sample) -> bool:
    """Tell."""
    return bool(sample.abs().max() > 3)


ONE = """
inputs: {seed: 0, steps: 3}
nodes:
  start: {node: begin, seed: $seed}
  times: {node: steps_of, steps: $steps}
  loop:
    for:   {time: $times}
    carry: {outer: {from: $start, then: $inner.sample}}
    collect: {all: $first}
    nodes:
      first: {node: network, sample: $outer, time: $time}
      inner:
        for:   {again: [0.5, 0.25]}
        carry: {sample: {from: $first, then: $next}}
        nodes:
          next: {node: network, sample: $sample, time: $again}
outputs: {sample: $loop.outer, all: $loop.all}
"""


def counting():
    called = []

    def listen(event):
        if isinstance(event, NodeStarted):
            called.append(event.call.node.name)

    return Session("cpu", "float32", listen, cache=None, each_node=True), called


def test_runs_together_give_what_each_gives_alone_for_as_many_calls_as_one():
    graph = load_text(ONE, "one.yaml", registry)
    runs = [{"seed": seed} for seed in range(3)]
    session, called = counting()
    together = session.together(graph, runs)
    assert called.count("network") == 3 * (1 + 2)  # inner loops go in step, too
    assert called.count("steps_of") == 1
    for run, outputs in zip(runs, together, strict=True):
        alone = Session("cpu", "float32")(graph, **run)
        assert torch.equal(outputs["sample"], alone["sample"])
        assert all(map(torch.equal, outputs["all"], alone["all"]))


def test_runs_with_other_schedules_are_right_too():
    graph = load_text(ONE, "one.yaml", registry)
    runs = [{"seed": 1, "steps": 2}, {"seed": 2, "steps": 5}]
    for run, outputs in zip(runs, Session("cpu").together(graph, runs), strict=True):
        assert torch.equal(outputs["sample"], Session("cpu")(graph, **run)["sample"])


TWO = """
inputs: {{seed: 0}}
nodes:
  start: {{node: begin, seed: $seed}}
  steps: {{node: steps_of, steps: 3}}
  others: {{node: steps_of, steps: 4}}
  one:
    for:   {{time: $steps}}
    carry: {{sample: {{from: $start, then: $next}}}}
    nodes: {{next: {{node: network, sample: $sample, time: $time}}}}
  two:
    for:   {{time: {sequence}}}
    carry: {{sample: {{from: {start}, then: $next}}}}
    {until}
    nodes: {{next: {{node: network, sample: $sample, time: $time}}, done: {{node: is_done, sample: $next}}}}
outputs: {{one: $one.sample, two: $two.sample}}
"""


@pytest.mark.parametrize(
    ("sequence", "start", "until", "loops"),
    [
        ("$steps", "$start", "", ["one+two"]),
        ("$others", "$start", "", ["one", "two"]),  # another sequence
        ("$steps", "$one.sample", "", ["one", "two"]),  # needs what the other made
        ("$steps", "$start", "until: $done", ["one", "two"]),  # may end early
    ],
)
def test_loops_are_merged_where_they_can_go_in_step(sequence, start, until, loops):
    text = TWO.format(sequence=sequence, start=start, until=until)
    graph = load_text(text, "two.yaml", registry)
    merged = merge_loops(graph)
    assert [block.name for block in merged.blocks if isinstance(block, Loop)] == loops
    session = Session("cpu", passes=())
    before, after = session(graph, seed=3), session(merged, seed=3)
    assert torch.equal(before["one"], after["one"])
    assert torch.equal(before["two"], after["two"])


def test_a_run_that_fails_fails_all_of_them():
    graph = load_text(ONE, "one.yaml", registry)
    with pytest.raises(RunError, match="too large"):
        Session("cpu").together(graph, [{"seed": 1, "steps": 3}, {"seed": 1, "steps": 40}])


def test_one_call_of_the_network_serves_all_prompts():
    graph = load("emoji")
    plan, _ = plan_together(graph, [bind(graph, run) for run in ({"prompt": "a fox"}, {"seed": 1})])
    [loop] = [block for block in plan.blocks if isinstance(block, Loop)]
    names = [block.node.name for block in loop.body]
    assert names.count("unet") == 1
    loaded = [call for call in calls_of(plan.blocks) if call.node.name == "load_unet"]
    assert len(loaded) == 1


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["unipc", "euler_ancestral"])
def test_pictures_of_a_batch_are_those_of_runs_alone_and_say_that_they_are_not_alone(
    scheduler, tmp_path
):
    graph = load("emoji")
    common = {"steps": 3, "scheduler": scheduler}
    runs = [
        {**common, "seed": 1, "prompt": "a fox", "output": str(tmp_path / "a.png")},
        {**common, "seed": 2, "negative_prompt": "a lion", "output": str(tmp_path / "b.png")},
    ]
    session, called = counting()
    together = session.together(graph, runs)
    assert called.count("unet") == 3
    for run, outputs in zip(runs, together, strict=True):
        file = Path(run["output"])
        batched = parse_record(read_record(file), "it")
        alone = Session("cpu", "float32")(graph, **run)
        torch.testing.assert_close(outputs["image"], alone["image"], atol=1e-5, rtol=0)
        record = parse_record(read_record(file), "it")
        assert drift(batched, record) == ["runs in its batch: was 2, is 1"]
        assert (batched.inputs, batched.block) == (record.inputs, record.block)
