"""Where a run's time went, as a table and as a trace."""

import json

import pytest

from graph import Registry, load_text
from runtime import Session
from runtime.cli import main
from runtime.profile import Profile

registry = Registry()
clock = [0.0]
GRAPH = """
nodes:
  first: {node: rest, seconds: 0.01}
  loop:
    for: {seconds: [0.02, 0.03]}
    carry: {all: {from: $first, then: $next}}
    nodes:
      next: {node: rest, seconds: $seconds, before: $all}
outputs: {all: $loop.all}
"""


@registry.node
def rest(seconds: float, before: float = 0.0) -> float:
    """Let the clock go on."""
    clock[0] += seconds
    return before + seconds


@pytest.fixture
def profile(monkeypatch):
    """Take the time of a run by a clock that goes on by a millisecond where it is looked at."""

    def now():
        clock[0] += 0.001
        return clock[0]

    monkeypatch.setattr("runtime.profile._now", now)
    found = Profile()
    session = Session("cpu", "float32", found, cache=None, each_node=True)
    session(load_text(GRAPH, "slow", registry))
    return found


def test_a_table_has_a_line_for_every_block_and_for_what_is_between(profile):
    assert (
        profile.table()
        == """slow: float32 on cpu
block              node  calls        s  share  ms a call
loop/next          rest      2    0.052  71.2%      26.00
first              rest      1    0.011  15.1%      11.00
between the nodes                 0.010  13.7%      10.00"""
    )


def test_a_trace_has_every_span_inside_the_one_around_it(profile, tmp_path):
    profile.save_trace(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert [(event["cat"], event["name"]) for event in events] == [
        ("node", "first"), ("node", "loop/next"), ("step", "step 1 of 2"), ("node", "loop/next"),
        ("step", "step 2 of 2"), ("loop", "loop"), ("run", "run"),
    ]  # fmt: skip
    inside = {0: 6, 1: 2, 3: 4, 2: 5, 4: 5, 5: 6}
    ends = [(event["ts"], event["ts"] + event["dur"]) for event in events]
    for one, other in inside.items():
        assert ends[other][0] <= ends[one][0] < ends[one][1] <= ends[other][1] + 1e-3
    assert events[1]["args"] == {"node": "rest", "value": "0.03"}


def test_the_command_prints_the_table_and_saves_the_trace(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slow.yaml").write_text(GRAPH.replace("rest", "rest_for_profile"))
    (tmp_path / "own.py").write_text(
        "from graph import node\n\n\n@node\ndef rest_for_profile(seconds: float, before: float = 0.0) -> float:\n"
        '    """Rest."""\n    return before + seconds\n'
    )
    assert main(["slow.yaml", "--nodes", "own.py", "--profile"]) == 0
    told = capsys.readouterr().err
    assert "ms a call" in told
    assert "the trace is in slow.trace.json: open it with ui.perfetto.dev" in told
    assert json.loads((tmp_path / "slow.trace.json").read_text())["traceEvents"]
