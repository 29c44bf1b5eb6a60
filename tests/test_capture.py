"""A loop's body recorded and replayed. What is special to CUDA is one function; here its twin, which
does the work again on the same fixed tensors, stands in for it."""

from typing import Annotated, NamedTuple

import pytest
import torch
from torch import Tensor

from graph import Kind, Registry, load_text
from runtime import CaptureRefused, NodeStarted, StepFinished
from runtime.capture import MOST, Captured, NotCaptured, check_equal, record_on_cuda
from runtime.evaluate import evaluate
from runtime.plan import make_plan

registry = Registry()
Sample = Annotated[Tensor, Kind("sample", "B C")]
Told = Annotated[Tensor, Kind("told", "B N")]
node = registry.node


class State(NamedTuple):
    sample: Tensor
    memory: Tensor


class Row(NamedTuple):
    weight: Tensor
    columns: tuple[int, ...]


@node
def begin(size: int) -> State:
    """Begin."""
    return State(torch.arange(float(size)), torch.zeros(size))


@node
def rows(count: int, kinds: int = 1) -> list[Row]:
    """Give rows of so many kinds."""
    return [Row(torch.tensor(1 / (k + 2)), (k % kinds,)) for k in range(count)]


@node
def flags(count: int) -> list[bool]:
    """Let every other be true."""
    return [k % 2 == 0 for k in range(count)]


@node
def text(width: int) -> Tensor:
    """Give a text."""
    return torch.linspace(0, 1, width)


@node
def advance(row: Row, state: State, text: Tensor) -> State:
    """Step."""
    sample = state.sample * row.weight + text + row.columns[0] + 0.5 * state.memory
    return State(sample, state.sample)


@node
def halve(state: State) -> State:
    """Halve."""
    return State(state.sample / 2, state.memory)


@node
def sample_of(state: State) -> Tensor:
    """Take the sample."""
    return state.sample


@node
def is_small(state: State) -> bool:
    """Tell."""
    return bool(state.sample.abs().max() < 0.5)


@node(batched=True)
def network(sample: Sample, text: Told) -> Sample:
    """Predict."""
    return sample * text.mean(dim=1, keepdim=True)


@node
def batch(rows: int) -> Sample:
    """Begin."""
    return torch.arange(6.0).reshape(rows, -1)


@node
def told(words: float) -> Told:
    """Tell."""
    return torch.full((1, 3), words)


@node
def guide(cond: Sample, uncond: Sample) -> Sample:
    """Guide."""
    return torch.lerp(uncond, cond, 1.5)


@node(effect=True)
def show(state: State) -> int:
    """Show."""
    return 1


LOOP = """
inputs: {{count: 6, kinds: 1}}
nodes:
  start: {{node: begin, size: 4}}
  rows: {{node: rows, count: $count, kinds: $kinds}}
  flags: {{node: flags, count: $count}}
  text: {{node: text, width: 4}}
  loop:
    for: {{row: $rows, flag: $flags}}
    carry: {{state: {{from: $start, then: $next}}}}
    collect: {{samples: $shown}}
    {more}
    nodes:
      moved: {{node: advance, row: $row, state: $state, text: $text}}
      next: {{node: halve, state: $moved, when: $flag, else: $moved}}
      shown: {{node: sample_of, state: $next}}
outputs: {{sample: $loop.state.sample, samples: $loop.samples}}
"""


class Twin:
    """Records by remembering the work, and counts."""

    def __init__(self):
        self.recorded = self.replayed = 0

    def __call__(self, work, _):
        self.recorded += 1

        def replay():
            self.replayed += 1
            return work()

        return replay


def run(source, record=None, **inputs):
    events = []
    graph = load_text(source, "graph", registry)
    known = {name: entry.default for name, entry in graph.inputs.items()} | inputs
    return evaluate(graph, known, {}, events.append, record=record), events


@pytest.mark.parametrize("inputs", [{}, {"kinds": 2}, {"count": 1}, {"count": 0}])
def test_a_recorded_loop_gives_the_same_bits(inputs):
    source, twin = LOOP.format(more=""), Twin()
    plain, _ = run(source, **inputs)
    replayed, events = run(source, twin, **inputs)
    assert torch.equal(plain["sample"], replayed["sample"])
    assert all(map(torch.equal, plain["samples"], replayed["samples"]))
    count, kinds = inputs.get("count", 6), inputs.get("kinds", 1)
    assert len(plain["samples"]) == twin.replayed == count
    # A flag and a row's columns are no tensors: each of their values has a recording.
    assert twin.recorded == min(count, 2)
    assert kinds <= 2
    assert sum(isinstance(event, StepFinished) for event in events) == count
    told = {event.call.name for event in events if isinstance(event, NodeStarted)}
    assert told == {"start", "rows", "flags", "text"}


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (LOOP.format(more="until: $stop").replace("      shown:", "      stop: {node: is_small, state: $next}\n      shown:"),
         "it may stop after any step"),
        (LOOP.format(more="").replace("      shown:", "      told: {node: show, state: $next}\n      shown:"),
         "it has an effect at every step"),
    ],
)  # fmt: skip
def test_a_loop_that_needs_the_host_runs_plainly_and_says_why(source, reason):
    plain, _ = run(source)
    replayed, events = run(source, Twin())
    assert torch.equal(plain["sample"], replayed["sample"])
    refused = [event for event in events if isinstance(event, CaptureRefused)]
    assert [(event.loop.name, event.reason) for event in refused] == [("loop", reason)]


def test_an_interval_of_guidance_has_a_recording_inside_it_and_one_outside():
    source = """
nodes:
  start: {node: batch, rows: 2}
  yes: {node: told, words: 0.5}
  no: {node: told, words: 0.25}
  flags: {node: flags, count: 6}
  loop:
    for: {here: $flags}
    carry: {sample: {from: $start, then: $next}}
    nodes:
      cond: {node: network, sample: $sample, text: $yes}
      uncond: {node: network, sample: $sample, text: $no, when: $here, else: $cond}
      next: {node: guide, cond: $cond, uncond: $uncond}
outputs: {sample: $loop.sample}
"""
    plain, _ = run(source)
    twin, events = Twin(), []
    plan = make_plan(load_text(source, "graph", registry), {})
    replayed = evaluate(plan, {}, {}, events.append, record=twin)
    assert torch.equal(plain["sample"], replayed["sample"])
    assert (twin.recorded, twin.replayed) == (2, 6)
    assert not any(isinstance(event, CaptureRefused) for event in events)


def test_steps_that_all_differ_are_run_plainly_from_then_on():
    source = LOOP.format(more="")
    plain, _ = run(source, count=12, kinds=12)
    twin = Twin()
    replayed, events = run(source, twin, count=12, kinds=12)
    assert torch.equal(plain["sample"], replayed["sample"])
    refused = [event.reason for event in events if isinstance(event, CaptureRefused)]
    assert refused == [f"its steps differ in more than tensors, {MOST} times and more"]
    assert twin.replayed == MOST


def test_what_a_machine_cannot_record_is_run_plainly():
    def record(work, inputs):
        raise NotCaptured("CUDA cannot record it: operation not permitted")

    source = LOOP.format(more="")
    plain, _ = run(source)
    replayed, events = run(source, record)
    assert torch.equal(plain["sample"], replayed["sample"])
    refused = [event.reason for event in events if isinstance(event, CaptureRefused)]
    assert refused == ["CUDA cannot record it: operation not permitted"]


def test_what_is_given_is_neither_changed_nor_what_is_given_back():
    captured = Captured(lambda values: [values[0].add_(1), values[1]], lambda work, _: work)
    given = [torch.zeros(2), "x"]
    first, word = captured(given)
    second, _ = captured([torch.ones(2), "x"])
    assert (first.tolist(), word, second.tolist()) == ([1, 1], "x", [2, 2])
    assert given[0].tolist() == [0, 0]


def test_a_recording_that_gives_other_numbers_is_refused():
    check_equal([torch.ones(3)], [torch.ones(3) + 0.001])
    for wrong in (torch.ones(3) + 0.1, torch.full((3,), torch.nan)):
        with pytest.raises(NotCaptured, match="its recording gives other numbers than the step"):
            check_equal([torch.ones(3)], [wrong])


def test_what_is_on_the_cpu_is_not_recorded_for_a_gpu():
    captured = Captured(lambda values: [values[0] * 2], record_on_cuda)
    with pytest.raises(NotCaptured, match="a step is given tensors that are not on the GPU"):
        captured([torch.ones(2)])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu():
    captured = Captured(lambda values: [values[0] * 2 + values[1]], record_on_cuda)
    one, other = torch.rand(8, device="cuda"), torch.rand(8, device="cuda")
    for _ in range(3):
        assert torch.equal(captured([one, other])[0], one * 2 + other)
        one = one + 1
