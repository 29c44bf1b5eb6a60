"""What comes out of a graph that is right."""

from __future__ import annotations

from cProfile import Profile
from pathlib import Path
from typing import Any, get_args

import pytest

from graph import (
    Call,
    Graph,
    GraphError,
    ListOf,
    Literal,
    Loop,
    Reference,
    load,
    load_text,
    node_types,
    prune,
)
from tests.graph_nodes import ENCODE_PROMPT, SD15, State, nodes


@pytest.fixture
def sd15(tmp_path: Path) -> Graph:
    (tmp_path / "encode_prompt.yaml").write_text(ENCODE_PROMPT)
    (tmp_path / "sd15.yaml").write_text(SD15)
    return load(tmp_path / "sd15.yaml", nodes())


def block(graph: Graph, name: str) -> Any:
    """Find a block by its name."""
    return next(block for block in graph.blocks if block.name == name)


def loaded(text: str) -> Graph:
    return load_text(text, "g.yaml", nodes())


def test_the_file(sd15: Graph) -> None:
    assert sd15.name == "sd15"
    assert sd15.source == SD15
    assert sd15.doc.startswith(
        "Stable Diffusion 1.x, text to image.\n  run-graph sd15.yaml prompt="
    )
    assert sd15.outputs == {"image": Reference("image")}


def test_subgraphs_stand_in_their_place(sd15: Graph) -> None:
    assert [block.name for block in sd15.blocks] == [
        "unet", "vae", "config", "text/tokens", "text/encoded", "no_text/tokens", "no_text/encoded",
        "schedule", "noise", "start", "denoise", "image", "saved",
    ]  # fmt: skip
    assert block(sd15, "no_text/tokens").arguments["prompt"] == Reference("negative_prompt")
    assert block(sd15, "text/encoded").arguments["tokens"] == Reference("text/tokens")
    assert str(block(sd15, "text/encoded").place).endswith("encode_prompt.yaml:7:3")


def test_the_loop(sd15: Graph) -> None:
    loop = block(sd15, "denoise")
    assert isinstance(loop, Loop)
    assert loop.sequences == {
        "step": Reference("schedule"),
        "fresh": Reference("noise", ("fresh",)),
    }
    assert loop.carry["state"].start == Reference("start")
    assert loop.carry["state"].then == Reference("denoise/next")
    assert loop.result == {"state": State}
    cond, uncond, guided, after = loop.body
    assert isinstance(cond, Call)
    assert [inner.name for inner in (cond, uncond, guided, after)] == [
        "denoise/cond", "denoise/uncond", "denoise/guided", "denoise/next",
    ]  # fmt: skip
    assert cond.arguments["sample"] == Reference(loop.variable("state"), ("sample",))
    assert cond.arguments["timestep"] == Reference(loop.variable("step"), ("timestep",))
    assert cond.arguments["text"] == Reference("text/encoded")
    latents = block(sd15, "image").arguments["latents"]
    assert latents == Reference("denoise", ("state", "sample"))


def test_inputs_have_the_types_of_their_users(sd15: Graph) -> None:
    assert {name: entry.required for name, entry in sd15.inputs.items() if entry.required} == {
        "prompt": True
    }
    assert sd15.inputs["prompt"].annotation == str | list[str]
    assert sd15.inputs["seed"].annotation is int
    steps = sd15.inputs["steps"]
    assert (get_args(steps.annotation)[0], steps.default, steps.help) == (int, 25, "how many steps")
    assert sd15.inputs["output"].default == Path("sd15.png")


def test_limits_of_all_users_hold() -> None:
    graph = """
inputs: {x: %s}
nodes:
  c: {node: load_scheduler_config, model: m}
  a: {node: numbers, count: $x}
  b: {node: schedule, config: $c, steps: $x}
"""
    assert loaded(graph % 3).inputs["x"].default == 3
    with pytest.raises(GraphError, match="input 'x' must be at least 1, found 0"):
        loaded(graph % 0)


FADING = """
inputs: {scales: %s}
nodes:
  x: {node: sharpen, image: $y}
  y: {node: anything, value: 3}
  loop:
    for: {scale: %s, i: [1, 2]}
    carry: {state: {from: $x, then: $mixed}}
    nodes:
      mixed: {node: mix, a: $state, b: $x, weight: $scale}
      count: {node: numbers, count: $i}
    collect: {all: $mixed}
outputs: {last: $loop.state, all: $loop.all}
"""


def test_an_input_that_is_walked_is_a_list() -> None:
    graph = loaded(FADING % ("[1, 0.5]", "$scales"))
    assert graph.inputs["scales"].annotation == list[float]
    assert graph.inputs["scales"].default == [1.0, 0.5]
    assert graph.outputs == {
        "last": Reference("loop", ("state",)),
        "all": Reference("loop", ("all",)),
    }
    with pytest.raises(
        GraphError, match="input 'scales' takes list of float, found the text 'x' as"
    ):
        loaded(FADING % ("[1, x]", "$scales"))


def test_a_literal_that_is_walked_is_validated_as_its_items_are_used() -> None:
    text = FADING.replace("inputs: {scales: %s}\n", "")
    loop = block(loaded(text % "[1, 0]"), "loop")
    assert loop.sequences == {"scale": Literal([1.0, 0.0]), "i": Literal([1, 2])}
    assert isinstance(loop.sequences["scale"].value[0], float)


def test_carries_of_literals() -> None:
    graph = loaded("""
inputs: {first: }
nodes:
  loop:
    for: {i: [1, 2]}
    carry:
      a: {from: [1, 2], then: $more}
      b: {from: $first, then: $more}
      c: {from: 1, then: 2}
    nodes:
      more: {node: numbers, count: $i}
  d: {node: numbers, count: $loop.c}
outputs: {a: $loop.a}
""")
    loop = block(graph, "loop")
    assert loop.carry["a"].start == Literal([1.0, 2.0])
    assert loop.result["a"] == list[float]
    assert graph.inputs["first"].annotation == list[float]


def test_loops_nest_and_stay_apart() -> None:
    graph = loaded(
        """
nodes:
  one: &none
    for: {i: [1]}
    nodes: {}
""".replace(" &none", "")
    )
    assert block(graph, "one").body == ()
    graph = loaded("""
nodes:
  outer:
    for: {i: [1]}
    nodes:
      inner:
        for: {j: [1]}
        carry: {n: {from: $start, then: $x}}
        nodes: {x: {node: mix, a: $n, b: $start}}
      start: {node: numbers, count: $i}
    collect: {n: $inner}
  again:
    for: {i: [1]}
    nodes: {start: {node: numbers, count: $i}}
    collect: {n: $start}
outputs: {n: $outer, m: $again}
""")
    outer, again = graph.blocks
    assert isinstance(outer, Loop)
    start, inner = outer.body
    assert (start.name, inner.name) == ("outer/start", "outer/inner")
    assert isinstance(inner, Loop)
    assert inner.body[0].name == "outer/inner/x"
    assert outer.collect == {"n": Reference("outer/inner", ("n",))}
    assert outer.result == {"n": list[list[float]]}
    assert again.name == "again"


def test_a_subgraph_in_a_loop_keeps_its_names_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("inner.yaml").write_text("""
inputs: {i: 5}
nodes:
  loop:
    for: {step: [1, 2]}
    nodes: {x: {node: numbers, count: $i}, y: {node: numbers, count: $step}}
    collect: {x: $x, y: $y}
outputs: {x: $loop.x, y: $loop.y}
""")
    graph = loaded("""
nodes:
  loop:
    for: {step: [1]}
    nodes: {a: {graph: inner, i: $step}, b: {graph: inner}}
    collect: {x: $a.x, y: $b.y}
""")
    (loop,) = graph.blocks
    assert isinstance(loop, Loop)
    first, second = loop.body
    assert isinstance(first, Loop)
    assert isinstance(second, Loop)
    assert isinstance(first.body[0], Call)
    assert isinstance(second.body[0], Call)
    assert first.name == "loop/a/loop"
    assert first.body[0].arguments == {"count": Reference("loop/step")}
    assert second.body[0].arguments == {"count": Literal(5)}
    assert loop.collect["y"] == Reference("loop/b/loop", ("y",))


def test_values() -> None:
    graph = loaded("""
nodes:
  y: {node: anything, value: {a: $$x, b: [1]}}
  x: {node: sharpen, image: $y, when: true, else: $y}
  z: {node: stack, images: [$x, $y], names: [a, $$b]}
  m: {node: optional_mask, image: $z, mask: $maybe}
  maybe: {node: sharpen, image: $y, when: false}
""")
    assert block(graph, "y").arguments == {"value": Literal({"a": "$x", "b": [1]})}
    assert block(graph, "x").when == Literal(True)
    assert block(graph, "x").otherwise == Reference("y")
    assert block(graph, "z").arguments == {
        "images": ListOf((Reference("x"), Reference("y"))),
        "names": Literal(["a", "$b"]),
    }
    assert [b.name for b in graph.blocks] == ["y", "x", "z", "maybe", "m"]


def test_prune(sd15: Graph) -> None:
    assert prune(sd15).blocks == sd15.blocks
    graph = loaded("""
nodes:
  unused: {node: numbers, count: 1}
  y: {node: anything, value: 1}
  loop:
    for: {i: [1, 2]}
    carry: {kept: {from: $y, then: $a}}
    nodes:
      a: {node: anything, value: $b}
      b: {node: anything, value: 3}
      c: {node: numbers, count: 3}
      d: {node: numbers, count: $b}
    collect: {asked: $b, idle: $d}
  saving:
    for: {i: [1, 2]}
    nodes:
      d: {node: save_image, image: $y, path: a.png}
      e: {node: numbers, count: $i}
  idle:
    for: {i: [1, 2]}
    nodes: {f: {node: numbers, count: $i}}
outputs: {kept: $loop.kept, asked: $loop.asked}
""")
    pruned = prune(graph)
    assert [block.name for block in pruned.blocks] == ["y", "loop", "saving"]
    assert [inner.name for inner in block(pruned, "loop").body] == ["loop/b", "loop/a"]
    assert list(block(pruned, "loop").collect) == ["asked"]
    assert [inner.name for inner in block(pruned, "saving").body] == ["saving/d"]


def chain(length: int) -> str:
    """Write a chain of calls, the last one first."""
    lines = [f"  n{i}: {{node: mix, a: $n{i - 1}, b: $n0}}" for i in range(length, 0, -1)]
    return "\n".join(["nodes:", *lines, "  n0: {node: numbers, count: 1}", "outputs: {n: $n5}"])


def test_a_chain_is_checked_in_linear_time_without_recursion() -> None:
    def calls(length: int) -> int:
        """Count the calls of functions, which are as many on every machine, busy or not."""
        text = chain(length)
        with Profile() as profile:
            graph = loaded(text)
        assert len(graph.blocks) == length + 1
        return sum(entry.callcount for entry in profile.getstats())

    calls(10)  # what is made once
    assert calls(1200) < 4.1 * calls(300)


def test_a_long_cycle_is_found() -> None:
    text = chain(3000).replace(
        "n0: {node: numbers, count: 1}", "n0: {node: mix, a: $n3000, b: $n1}"
    )
    with pytest.raises(GraphError, match="a cycle: n3000 -> n0 -> n3000"):
        loaded(text)


def test_finding_graphs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("nodes: {}")
    assert load("mine", nodes()).name == load("mine.yaml", nodes()).name == "mine"
    Path("latin.yaml").write_bytes(b"nodes: {} # \xe9")
    with pytest.raises(GraphError, match=r"latin.yaml:1:1: this is not UTF-8 text"):
        load("latin", nodes())
    with pytest.raises(
        GraphError, match="error: there is no graph 'encode_promt'\n  help: did you"
    ):
        load("encode_promt", nodes())


def test_graphs_that_double_at_every_level_are_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("graph.resolve.BLOCK_LIMIT", 100)
    for level in range(20):
        text = f"nodes:\n  a: {{graph: level{level + 1}}}\n  b: {{graph: level{level + 1}}}\n"
        Path(f"level{level}.yaml").write_text(text)
    Path("level20.yaml").write_text("nodes: {}")
    with pytest.raises(GraphError, match="the graph has more than 100 blocks"):
        load("level0", nodes())


def test_the_default_registry_is_used_where_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "nodes: {a: {node: numbers, count: 2}, b: {node: sharpen, image: $a}, c: {node: mix}}"
    monkeypatch.setattr(node_types(), "own", {})
    with pytest.raises(GraphError) as caught:
        load_text(text)
    advice = "`import nodes` before you load"
    assert str(caught.value) == f"error: no node types are registered\n  help: {advice}"
    monkeypatch.setattr(node_types(), "own", nodes().types.own)
    assert load_text("nodes: {a: {node: numbers, count: 2}}").blocks[0].name == "a"
