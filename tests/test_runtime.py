"""The engine by behaviour: a graph, its inputs, its outputs, and which nodes were called."""

from typing import NamedTuple

import pytest
import torch

from graph import GraphError, Registry, load_text
from runtime import NodeFinished, NodeStarted, RunError, RunStarted, Session, StepFinished
from runtime.errors import node_failed

registry = Registry()
node = registry.node


class Parts(NamedTuple):
    half: float
    double: float


@node
def add(a: float, b: float) -> float:
    """Add."""
    return a + b


@node
def parts(a: float) -> Parts:
    """Halve and double."""
    return Parts(a / 2, a * 2)


@node
def numbers(count: int) -> list[float]:
    """Count up from zero."""
    return [float(number) for number in range(count)]


@node
def above(a: float, limit: float) -> bool:
    """Compare."""
    return a > limit


@node
def total(values: list[float]) -> float:
    """Sum up."""
    return sum(values)


@node
def fail(a: float) -> float:
    """Fail."""
    raise ValueError(f"{a} is too much")


@node(effect=True)
def tell(a: float) -> float:
    """Have an effect."""
    return a


CASES = {
    "a call": ("nodes: {x: {node: add, a: 1, b: 2}}\noutputs: {x: $x}", {}, {"x": 3}, ["x"]),
    "a field of several outputs": (
        "nodes: {p: {node: parts, a: 3}, x: {node: add, a: $p.half, b: $p.double}}\noutputs: {x: $x}",
        {}, {"x": 7.5}, ["p", "x"],
    ),
    "an input": (
        "inputs: {a: 5}\nnodes: {x: {node: add, a: $a, b: $a}}\noutputs: {x: $x}", {"a": 2.0}, {"x": 4}, ["x"],
    ),
    "what nothing needs is not run": (
        "nodes: {x: {node: add, a: 1, b: 2}, y: {node: fail, a: 1}}\noutputs: {x: $x}", {}, {"x": 3}, ["x"],
    ),
    "an effect is a root": ("nodes: {x: {node: tell, a: 1}}", {}, {}, ["x"]),
    "equal calls are one": (
        "nodes: {x: {node: add, a: 1, b: 2}, y: {node: add, a: 1, b: 2}, z: {node: add, a: $x, b: $y}}\n"
        "outputs: {z: $z}", {}, {"z": 6}, ["x", "z"],
    ),
    "equal effects are two": (
        "nodes: {x: {node: tell, a: 1}, y: {node: tell, a: 1}}", {}, {}, ["x", "y"],
    ),
    "a list of references": (
        "nodes: {x: {node: add, a: 1, b: 2}, s: {node: total, values: [$x, 4, $x]}}\noutputs: {s: $s}",
        {}, {"s": 10}, ["x", "s"],
    ),
    "when it holds": (
        "inputs: {on: true}\nnodes: {x: {node: add, a: 1, b: 1, when: $on, else: 9}, "
        "y: {node: add, a: $x, b: 0}}\noutputs: {y: $y}", {"on": True}, {"y": 2}, ["x", "y"],
    ),
    "when it does not hold": (
        "inputs: {on: true}\nnodes: {x: {node: add, a: 1, b: 1, when: $on, else: 9}, "
        "y: {node: add, a: $x, b: 0}}\noutputs: {y: $y}", {"on": False}, {"y": 9}, ["y"],
    ),
}  # fmt: skip

LOOP = """
inputs: {count: 4, limit: 1000}
nodes:
  zero: {node: add, a: 0, b: 0}
  items: {node: numbers, count: $count}
  loop:
    for: {item: $items}
    carry: {sum: {from: $zero, then: $next}}
    collect: {sums: $next}
    until: $stop
    nodes:
      next: {node: add, a: $sum, b: $item}
      stop: {node: above, a: $next, limit: $limit}
outputs: {sum: $loop.sum, sums: $loop.sums}
"""

NESTED = """
nodes:
  zero: {node: add, a: 0, b: 0}
  items: {node: numbers, count: 3}
  outer:
    for: {x: $items}
    carry: {all: {from: $zero, then: $inner.part}}
    nodes:
      inner:
        for: {y: $items}
        carry: {part: {from: $all, then: $more}}
        nodes:
          product: {node: add, a: $x, b: $y}
          more: {node: add, a: $part, b: $product}
outputs: {all: $outer.all}
"""


def run(text, **inputs):
    called = []

    def listen(event):
        if isinstance(event, NodeStarted):
            called.append(event.call.name)

    session = Session("cpu", "float32", listen, each_node=True)
    outputs = session(load_text(text, "graph.yaml", registry), **inputs)
    return outputs, called


@pytest.mark.parametrize("name", CASES)
def test_behaviour(name):
    text, inputs, outputs, calls = CASES[name]
    assert run(text, **inputs) == (outputs, calls)


@pytest.mark.parametrize(
    ("inputs", "total", "sums"),
    [
        ({}, 6, [0, 1, 3, 6]),
        ({"count": 1}, 0, [0]),
        ({"count": 0}, 0, []),
        ({"count": 9, "limit": 5.0}, 6, [0, 1, 3, 6]),
    ],
)
def test_a_loop_carries_collects_and_leaves_early(inputs, total, sums):
    outputs, _ = run(LOOP, **inputs)
    assert outputs == {"sum": total, "sums": sums}


def test_a_loop_is_the_unrolled_graph():
    outputs, calls = run(NESTED)
    assert outputs["all"] == sum(x + y for x in range(3) for y in range(3))
    assert calls.count("outer/inner/more") == 9


def test_sequences_of_different_length_are_refused():
    text = """
nodes:
  zero: {node: add, a: 0, b: 0}
  two: {node: numbers, count: 2}
  loop:
    for: {x: $two, y: [1, 2, 3]}
    carry: {sum: {from: $zero, then: $next}}
    nodes: {next: {node: add, a: $x, b: $y}}
outputs: {sum: $loop.sum}
"""
    with pytest.raises(
        RunError, match="the sequences of 'loop' differ in length: x has 2, y has 3"
    ):
        run(text)


def test_a_failure_names_the_node_its_line_and_its_inputs():
    with pytest.raises(RunError) as error:
        run("nodes:\n  x: {node: add, a: 1, b: 2}\n  y: {node: fail, a: $x}\noutputs: {y: $y}")
    first, raised, argument = str(error.value).splitlines()
    assert first == "graph.yaml:3:3: 'y' (fail) failed: ValueError: 3.0 is too much"
    assert "test_runtime.py:" in raised
    assert argument == "  a: 3.0"
    assert isinstance(error.value.__cause__, ValueError)


def test_a_failure_describes_tensors_device_and_precision():
    arguments = {"a": torch.zeros(2, 3), "b": torch.device("cpu"), "c": torch.bfloat16, "d": "x"}
    call = load_text("nodes: {x: {node: tell, a: 1}}", "graph.yaml", registry).blocks[0]
    try:
        raise ValueError("no")
    except ValueError as error:
        lines = str(node_failed(call, arguments, error)).splitlines()
    assert lines[2:] == ["  a: 2×3 float32 on cpu", "  b: cpu", "  c: bfloat16", "  d: 'x'"]


def test_a_listener_can_end_a_run_between_steps():
    seen = []

    def listen(event):
        if isinstance(event, StepFinished):
            seen.append(event.done)
            if event.done == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Session("cpu", "float32", listen)(load_text(LOOP, "graph.yaml", registry))
    assert seen == [1, 2]


@pytest.mark.parametrize(("each_node", "told"), [(False, ["told"]), (True, ["next", "told"])])
def test_of_what_a_step_calls_effects_are_told_and_all_nodes_where_that_is_asked(each_node, told):
    events = []
    inside = """
nodes:
  first: {node: add, a: 1, b: 1}
  loop:
    for: {x: [1.0, 2.0]}
    carry: {sum: {from: $first, then: $next}}
    nodes: {next: {node: add, a: $sum, b: $x}, told: {node: tell, a: $next}}
outputs: {sum: $loop.sum}
"""
    session = Session("cpu", "float32", events.append, each_node=each_node)
    assert session(load_text(inside, "graph.yaml", registry)) == {"sum": 5.0}
    calls = ["first", *(f"loop/{name}" for name in told * 2)]
    for sort in (NodeStarted, NodeFinished):
        assert [event.call.name for event in events if isinstance(event, sort)] == calls
    steps = [event.done for event in events if isinstance(event, StepFinished)]
    assert steps == [1, 2]
    values = [event.value for event in events if isinstance(event, NodeFinished)]
    assert values == ([2, 3, 3, 5, 5] if each_node else [2, 3, 5])


def test_where_nobody_listens_no_event_is_made_of_a_node(monkeypatch):
    made = []
    for sort in (NodeStarted, NodeFinished):
        monkeypatch.setattr(f"runtime.evaluate.{sort.__name__}", lambda *facts: made.append(facts))
    graph = load_text(LOOP, "graph.yaml", registry)
    Session("cpu", "float32", each_node=True)(graph)
    assert not made
    Session("cpu", "float32", lambda _: None, each_node=True)(graph)
    assert made


def test_inputs_are_checked_before_anything_runs():
    events = []
    session = Session("cpu", "float32", events.append)
    with pytest.raises(GraphError, match="has no input 'conut'"):
        session(load_text(LOOP, "graph.yaml", registry), conut=3)
    assert events == []


def test_events_tell_device_and_precision():
    events = []
    Session("cpu", "auto", events.append)(load_text(LOOP, "graph.yaml", registry))
    assert isinstance(events[0], RunStarted)
    assert (events[0].graph, events[0].device) == ("graph.yaml", "cpu")
    assert (events[0].dtype, events[0].why) in {
        ("float32", "this processor does not multiply in bfloat16"),
        ("bfloat16", "this processor multiplies in it"),
    }


DEVICES = "auto, cpu, cuda, mps, or cuda:1 and so on"
DTYPES = "auto, float32, bfloat16, float16"


@pytest.mark.parametrize(
    ("device", "dtype", "message"),
    [
        ("gpu", "auto", f"device 'gpu' is none of {DEVICES}; did you mean 'cuda'?"),
        ("GPU:1", "auto", f"device 'GPU:1' is none of {DEVICES}; did you mean 'cuda'?"),
        ("cuda0", "auto", f"device 'cuda0' is none of {DEVICES}; did you mean 'cuda'?"),
        ("abacus", "auto", f"device 'abacus' is none of {DEVICES}"),
        ("cpu", "fp16", f"precision 'fp16' is none of {DTYPES}; did you mean 'float16'?"),
        ("cpu", "bf16", f"precision 'bf16' is none of {DTYPES}; did you mean 'bfloat16'?"),
        ("cpu", "flaot32", f"precision 'flaot32' is none of {DTYPES}; did you mean 'float32'?"),
        ("cpu", "int4", f"precision 'int4' is none of {DTYPES}"),
    ],
)
def test_a_machine_that_is_not_there_is_refused(device, dtype, message):
    with pytest.raises(ValueError, match=r".") as refused:
        Session(device, dtype)
    assert str(refused.value) == message
