"""Compiled networks. What compiles them is a seam: here it counts, or fails, and computes plainly."""

import os
import shutil
import subprocess
import sys
from copy import deepcopy
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from graph import Loop, Registry, load_text
from nodes.metadata import read_record
from nodes.models.attend import attend_in_chunks
from nodes.models.opaque import opaque
from nodes.models.packed import PackedConv2d, PackedLinear, can_pack
from runtime import Cache, CompileRefused, NetworkCompiled, NodeStarted, Session
from runtime.cli import main
from runtime.compiler import SIZES, Compiler, compiled, why_not_compiled
from runtime.plan import PASSES, make_plan

registry = Registry()
node = registry.node


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(width, width)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return x + torch.relu(self.layer(x) + time)


class Net(nn.Module):
    repeated_blocks = (Block,)

    def __init__(self, blocks: int = 3, width: int = 4) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width) for _ in range(blocks))
        self.requires_grad_(False)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, time)
        return x.tanh()


@node
def load_net(blocks: int = 3) -> Net:
    """Load a network."""
    torch.manual_seed(blocks)
    return Net(blocks)


@node
def halved(net: Net, by: float) -> Net:
    """Give a network with smaller weights."""
    other = deepcopy(net)
    for parameter in other.parameters():
        parameter.mul_(by)
    return other


@node
def begin(rows: int) -> Tensor:
    """Begin."""
    return torch.linspace(-1, 1, 4 * rows).reshape(rows, 4)


@node
def times(steps: int) -> list[Tensor]:
    """Give a time for each step."""
    return list(torch.linspace(0, 1, steps))


@node
def predict(net: Net, x: Tensor, time: Tensor) -> Tensor:
    """Predict."""
    return net(x, time)


GRAPH = """
inputs: {rows: 2, steps: 4}
nodes:
  net: {node: load_net}
  start: {node: begin, rows: $rows}
  times: {node: times, steps: $steps}
  loop:
    for: {time: $times}
    carry: {x: {from: $start, then: $next}}
    nodes:
      next: {node: predict, net: $net, x: $x, time: $time}
outputs: {x: $loop.x}
"""


class Counting:
    """A backend that computes plainly and counts what it was given to compile."""

    def __init__(self):
        self.graphs = 0

    def __call__(self, module, _):
        self.graphs += 1
        return module.forward


@pytest.fixture
def backend(monkeypatch):
    """Let sessions compile by a backend that counts."""
    counting = Counting()
    use(monkeypatch, counting)
    torch._dynamo.reset()
    return counting


def use(monkeypatch, backend):
    monkeypatch.setattr("runtime.session.Compiler", partial(Compiler, backend=backend))
    monkeypatch.setattr("runtime.session.why_not_compiled", lambda _: "")


def session(**options):
    told = []
    return Session("cpu", "float32", told.append, each_node=True, **options), told


def compiled_by(backend, net, tell=lambda _: None):
    graph = load_text(GRAPH, "graph", registry)
    return Compiler(tell, backend)(graph.blocks[0])(net)


def only(told, kind):
    return [event for event in told if isinstance(event, kind)]


def test_a_block_is_compiled_once_however_often_it_stands_there_and_whatever_the_steps(backend):
    graph = load_text(GRAPH, "graph", registry)
    plain, _ = session()
    for steps in (4, 30):
        one, told = session(compile=True)
        assert torch.equal(one(graph, steps=steps)["x"], plain(graph, steps=steps)["x"])
        assert backend.graphs == 1  # of three blocks alike, also for the session after
        (event,) = only(told, NetworkCompiled)
        assert (event.name, dict(event.blocks)) == ("net", {"Block": 3})
        assert not only(told, CompileRefused)


def test_every_size_is_compiled_once_and_further_ones_run_as_they_are(backend):
    graph = load_text(GRAPH, "graph", registry)
    (plain, _), (one, told) = session(), session(compile=True)
    for rows in (2, 3, 2, 3):
        assert torch.equal(one(graph, rows=rows)["x"], plain(graph, rows=rows)["x"])
    assert backend.graphs == 2
    for rows in range(4, 4 + SIZES):
        assert torch.equal(one(graph, rows=rows)["x"], plain(graph, rows=rows)["x"])
    assert backend.graphs == SIZES
    refused = [(event.name, event.reason) for event in only(told, CompileRefused)]
    words = f"it was called with more than {SIZES} sizes, and is compiled for the first"
    assert refused == [("net", words)]


def test_where_compiling_fails_the_network_runs_as_it_is_and_why_is_told_once(monkeypatch):
    def fails(module, inputs):
        raise RuntimeError("the compiler is out of order\n\nmore about it")

    use(monkeypatch, fails)
    torch._dynamo.reset()
    graph = load_text(GRAPH, "graph", registry)
    (plain, _), (one, told) = session(), session(compile=True)
    assert torch.equal(one(graph)["x"], plain(graph)["x"])
    (event,) = only(told, CompileRefused)
    assert event.name == "net"
    assert "the compiler is out of order" in event.reason
    assert "more about it" not in event.reason


def test_a_machine_that_cannot_compile_says_so_and_plans_as_ever(monkeypatch):
    def fails(function, backend):
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr("runtime.compiler._compiling", fails)
    why_not_compiled.cache_clear()
    try:
        one, told = session(compile=True)
    finally:
        why_not_compiled.cache_clear()
    assert one.passes == tuple(PASSES)
    one(load_text(GRAPH, "graph", registry))
    (event,) = only(told, CompileRefused)
    assert (event.name, event.reason) == ("graph", "No working C++ compiler found")
    assert not only(told, NetworkCompiled)


def test_compiled_and_plain_runs_are_not_taken_for_one_another(backend):
    graph, cache = load_text(GRAPH, "graph", registry), Cache()
    (plain, first), (one, second) = session(cache=cache), session(cache=cache, compile=True)
    plain(graph)
    one(graph)
    called = [event.call.name for event in only(second, NodeStarted)]
    assert called == [
        "net/compiled",
        *["loop/next"] * 4,
    ]  # the network, and what it begins with, are known
    first.clear(), second.clear()
    plain(graph, steps=4), one(graph, steps=4)
    assert not only([*first, *second], NodeStarted)
    assert (plain.passes, one.passes) == (tuple(PASSES), (*PASSES, "compile"))


def test_a_network_stays_as_it_is_and_a_copy_of_a_compiled_one_calls_its_own_layers(backend):
    net, x, time = Net(), torch.ones(1, 4), torch.tensor(0.0)
    plain = net(x, time)
    one = compiled_by(backend, net)
    assert [torch.equal(one(x, time), plain) for _ in range(3)] == [True] * 3
    assert backend.graphs == 1
    other = halved(one, 0.5)
    assert torch.equal(other(x, time), halved(net, 0.5)(x, time))
    assert not torch.equal(other(x, time), plain)
    assert torch.equal(net(x, time), plain)
    assert backend.graphs == 1
    assert all(mine is its for mine, its in zip(one.parameters(), net.parameters(), strict=True))


def test_where_gradients_are_wanted_blocks_run_as_they_are(backend):
    one = compiled_by(backend, Net())
    x = torch.ones(1, 4, requires_grad=True)
    for _ in range(3):
        one(x, torch.tensor(0.0)).sum().backward()
    assert x.grad is not None
    assert not backend.graphs


class Asking(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x if x.max().item() > 1 else x


def test_a_network_that_asks_the_host_for_numbers_is_not_compiled_in_pieces(backend):
    told, x = [], torch.rand(1, 4)
    one = compiled_by(backend, Asking(), told.append)
    assert all(torch.equal(one(step * x), Asking()(step * x)) for step in range(4))
    (event,) = only(told, CompileRefused)
    assert event.name == "net"
    assert not backend.graphs


def test_a_network_that_names_no_blocks_is_one(backend):
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU()).requires_grad_(False)
    whole = compiled_by(backend, net)
    x = torch.ones(1, 4)
    assert torch.equal(whole(x), whole(x))
    assert backend.graphs == 1
    assert compiled(7) == 7


def planned(body, nodes=""):
    source = GRAPH.replace("      next: {node: predict, net: $net, x: $x, time: $time}\n", body)
    source = source.replace("  start:", f"{nodes}  start:")
    plan = make_plan(load_text(source, "graph", registry), {"rows": 2, "steps": 4}, ["compile"])
    (loop,) = (block for block in plan.blocks if isinstance(block, Loop) and block.name == "loop")
    nets = [call.arguments["net"].name for call in loop.body]
    return [block.name for block in plan.blocks], nets


def test_what_loops_call_is_compiled_in_front_of_them_once():
    two = """
      seen: {node: predict, net: $net, x: $x, time: $time}
      next: {node: predict, net: $net, x: $seen, time: $time}
"""
    names, nets = planned(two)
    assert names == ["net", "start", "times", "net/compiled", "loop"]
    assert nets == ["net/compiled"] * 2


def test_a_network_that_a_loop_makes_is_compiled_after_it_and_not_called_compiled_in_it():
    changed = """\
  changed:
    for: {by: [0.5, 0.25]}
    carry: {small: {from: $net, then: $smaller}}
    nodes:
      smaller: {node: halved, net: $small, by: $by}
"""
    body = "      next: {node: predict, net: $changed.small, x: $x, time: $time}\n"
    names, nets = planned(body, changed)
    assert names == ["net", "changed", "start", "times", "changed.small/compiled", "loop"]
    assert nets == ["changed.small/compiled"]


@pytest.mark.skipif(not can_pack(), reason="this PyTorch has no oneDNN")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_compiler_is_told_right_what_opaque_operators_give(dtype):
    x, rows = torch.randn(2, 6, 9, 7, dtype=dtype), torch.randn(2, 9, 6, dtype=dtype)
    wide = torch.randn(2, 128, 8, 8, dtype=dtype)
    layers = [
        (PackedConv2d(nn.Conv2d(6, 10, 3, 2, 1).to(dtype)), x),
        (PackedConv2d(nn.Conv2d(6, 10, 1, bias=False).to(dtype)), x),
        (PackedConv2d(nn.Conv2d(6, 10, 3, stride=2).to(dtype)), x),
        (PackedConv2d(nn.Conv2d(128, 144, 3, padding=1).to(dtype)), wide),
        (PackedConv2d(nn.Conv2d(128, 144, 3, padding=1).to(dtype)), wide, True),
        (PackedLinear(nn.Linear(6, 10).to(dtype)), rows),
    ]
    for layer, *given in layers:
        layer.requires_grad_(False)
        torch.compiler.reset()  # so many layers of one class are more than it compiles
        whole = torch.compile(layer, backend="aot_eager", fullgraph=True)
        assert torch.equal(layer(*given), whole(*given))
        assert layer(*given).stride() == whole(*given).stride()
    parts = [torch.randn(2, 3, count, 8, dtype=dtype) for count in (9, 5, 5)]
    whole = torch.compile(lambda *parts: attend_in_chunks(*parts) + 1, backend="aot_eager", fullgraph=True)  # fmt: skip
    assert torch.equal(attend_in_chunks(*parts) + 1, whole(*parts))


def test_an_opaque_function_is_itself_where_nothing_compiles():
    def twice(x):
        return 2 * x

    call = opaque("(Tensor x) -> Tensor", twice, lambda x: x.new_empty(x.shape))
    assert call(torch.ones(1)).item() == 2
    assert torch.ops.run_graph.twice(torch.ones(1)).item() == 2


@pytest.mark.slow
def test_a_picture_of_a_compiled_run_says_so_and_is_made_again(backend, tmp_path, capsys):
    picture = tmp_path / "fox.png"
    assert main(["emoji", "prompt=a fox", "steps=2", "--compile", f"output={picture}"]) == 0
    words = "picture/unet is compiled when it is first called: 11 ResnetBlock2D, 7 BasicTransformerBlock"
    assert words in capsys.readouterr().err
    assert read_record(picture)["passes"] == [*PASSES, "compile"]
    graphs = backend.graphs
    assert main(["replay", str(picture)]) == 0
    assert "made again, bit-equal" in capsys.readouterr().out
    assert backend.graphs == graphs > 0


INDUCTOR = """
import torch
from graph import load_text
from runtime import Session
from tests.test_compile import GRAPH, registry

graph = load_text(GRAPH, "graph", registry)
plain = Session("cpu", "float32")(graph)["x"]
assert torch.allclose(Session("cpu", "float32", print, compile=True)(graph)["x"], plain, atol=1e-6)
from torch._dynamo.utils import counters  # its import settles where compiled code is kept
print("found:", counters["inductor"]["fxgraph_cache_hit"], counters["inductor"]["fxgraph_cache_miss"])
"""


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="needs a compiler")
def test_a_second_process_compiles_nothing(tmp_path):
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    environment.pop("TORCHINDUCTOR_CACHE_DIR", None)
    found = []
    for _ in range(2):
        command = [sys.executable, "-c", INDUCTOR]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert "CompileRefused" not in done.stdout
        found += [line for line in done.stdout.splitlines() if line.startswith("found:")]
    # The block, and what asks whether anything compiles.
    assert found == [
        "found: 0 2",
        "found: 2 0",
    ]
    assert (tmp_path / "run-graph" / "compiled").is_dir()


@pytest.mark.parametrize("batch", [1, 2])
def test_attention_is_laid_out_as_the_compiler_is_told(batch):
    queries = torch.randn(batch, 16, 2, 8).transpose(1, 2)
    keys = torch.randn(batch, 2, 16, 8)
    operator = torch.ops.run_graph.attend_in_chunks
    real = operator(queries, keys, keys)
    told = operator(*(it.to("meta") for it in (queries, keys, keys)))
    assert (told.shape, told.stride()) == (real.shape, real.stride())
