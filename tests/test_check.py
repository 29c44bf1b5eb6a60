"""Graphs that are refused by their shapes alone, what they are told, and what graphs cost."""

import json
import re
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from graph import Registry, bind, load, load_text, node_types, parse_inputs, shipped_graphs
from nodes.kinds import Latents
from nodes.lora import LoRA
from nodes.weights import Change
from runtime import Session
from runtime.check import Report, check_shapes
from runtime.cli import main

ROOT = Path(__file__).parent.parent
OWN = Registry()
OWN._types.update(node_types())


@OWN.node
def halve(sample: Latents) -> Latents:
    """Take every second row and column."""
    return sample[..., ::2, ::2]


@OWN.node
def add(a: Latents, b: Latents) -> Latents:
    """Add latents, without a word about their shapes."""
    return a + b


@OWN.node
def brighten(sample: Latents) -> Latents:
    """Look at numbers, which a check has not."""
    return sample * 2 if sample.mean().item() < 0 else sample


@OWN.node
def sdxl_lora() -> LoRA:
    """Make a LoRA of SDXL that changes one layer."""
    pieces = {"lora_up": torch.empty(640, 4), "lora_down": torch.empty(4, 2048)}
    layer = "down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
    change = Change({name: piece.to("meta") for name, piece in pieces.items()}, 1.0)
    return LoRA("ink.safetensors", {"unet": {layer: change}})


PARTS = """\
inputs: {count: 1}
nodes:
  unet: {node: load_unet, model: emoji-64}
  vae: {node: load_vae, model: emoji-64}
  config: {node: load_scheduler_config, model: emoji-64}
  schedule: {node: schedule, config: $config, steps: 3}
  noise: {node: noise, vae: $vae, schedule: $schedule, seed: 0, width: 64, height: 64, count: $count}
  half: {node: halve, sample: $noise.initial}
"""


def checked(text: str, **inputs: object) -> Report:
    graph = load_text(text, "g.yaml", OWN)
    return check_shapes(graph, bind(graph, inputs), torch.float32)


def table() -> list[object]:
    """Read the table: a title, lines behind PARTS or changes of a shipped graph, and the message."""
    content = (Path(__file__).parent / "check_messages.txt").read_text()
    cases: list[object] = []
    for case in content.removeprefix("=== ").split("\n=== "):
        title, _, rest = case.partition("\n")
        given, _, expected = rest.partition("\n---\n")
        cases.append(pytest.param(given, expected.rstrip("\n"), id=title))
    return cases


def said_of(given: str) -> str:
    """Check what the table gives: `graph NAME`, then `old => new` lines, or more lines of nodes."""
    first, *changes = given.splitlines()
    if not first.startswith("graph "):
        text, inputs = PARTS + given + "\n", {}
    else:
        _, name, *words = first.split()
        text = (ROOT / "graphs" / f"{name}.yaml").read_text()
        text = "\n".join(line for line in text.splitlines() if not line.startswith("#")).lstrip()
        for change in changes:
            old, new = change.split(" => ")
            assert old in text, f"{name}.yaml no longer has {old!r}"
            text = text.replace(old, new, 1)
        graph = load_text(text, f"{name}.yaml", OWN)
        inputs = parse_inputs(graph, words)
    found = "\n".join(str(finding) for finding in checked(text, **inputs).findings)
    return found.replace(f"{ROOT}/", "")


@pytest.mark.parametrize(("given", "expected"), table())
def test_message(given: str, expected: str) -> None:
    assert said_of(given) == expected


def test_all_findings_come_at_once_and_what_hangs_on_them_is_left_out() -> None:
    report = checked(
        PARTS
        + """\
  a: {node: vae_decode, vae: $vae, latents: $wide}
  wide: {node: add_channels, sample: $noise.initial, channels: $noise.initial}
  b: {node: add, a: $half, b: $noise.initial}
  c: {node: add, a: $b, b: $b}
outputs: {a: $a, c: $c}
"""
    )
    assert [finding.place.line for finding in report.findings if finding.place] == [9, 11]
    assert "c" not in report.shapes


def test_what_needs_numbers_is_told_and_no_mistake() -> None:
    report = checked(PARTS + "  b: {node: brighten, sample: $half}\noutputs: {b: $b}\n")
    assert (report.findings, report.unchecked) == ([], ["b"])


def test_an_input_that_is_not_given_is_unknown() -> None:
    graph = load("sd15")
    report = check_shapes(graph, {"model": "emoji-64"}, torch.float32)
    assert report.findings == []


SMALL = {"sd15": {"model": "emoji-64", "prompt": "a fox"}, "ddpm": {"model": "emoji-32"}}


@pytest.mark.parametrize("name", ["sd15", "ddpm", "emoji"])
def test_a_check_foretells_shapes_and_operations_of_the_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # PyTorch's counter knows neither oneDNN's own operators nor the CPU's fused attention.
    monkeypatch.setattr("nodes.load.pack", lambda network: network)
    graph = load(name)
    inputs = bind(graph, {**SMALL.get(name, {}), "steps": 3, "output": str(tmp_path / "x.png")})
    report = check_shapes(graph, inputs, torch.float32)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        image = Session(device="cpu", dtype="float32")(graph, **inputs)["image"]
    assert report.findings == []
    assert report.flops == counter.get_total_flops() > 0
    words = "×".join(str(side) for side in image.shape)
    assert f"{words} float32" in report.shapes.values()


def test_peak_memory_is_weights_and_the_largest_tensors_together() -> None:
    graph = load("sd15")
    inputs = bind(graph, SMALL["sd15"])
    peaks = {
        count: check_shapes(graph, inputs | {"count": count}, torch.float32).peak_bytes
        for count in (1, 32, 64, 128)
    }
    half = check_shapes(graph, inputs, torch.bfloat16).peak_bytes
    weights = sum(cost.weight_bytes for cost in check_shapes(graph, inputs, torch.float32).costs)
    assert weights < peaks[1] < 1.1 * weights
    assert half == pytest.approx(peaks[1] / 2, rel=0.05)
    assert peaks[128] - peaks[64] == pytest.approx(2 * (peaks[64] - peaks[32]), rel=0.01)


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "sd15", "model=emoji-64"]) == 0
    assert "not given, nor checked what hangs on it: prompt" in capsys.readouterr().out
    words = ["check", "sd15", "model=emoji-64", "prompt=x"]
    assert main([*words, "--cost"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("sd15: names, types and shapes are right\n")
    assert re.search(r"denoise/cond +unet +25 ", out)
    assert main([*words, "width=70", "height=64", "--json"]) == 2
    said = json.loads(capsys.readouterr().out)
    assert said["findings"][0]["line"] == 27
    assert said["findings"][0]["message"].startswith("'noise' (noise): width must be a multiple")
    assert main(["check", "sd15", "stesp=3", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["findings"][0]["help"] == "did you mean 'steps'?"


def test_colour_is_for_terminals() -> None:
    graph = load("sd15")
    finding = check_shapes(graph, {"model": "nowhere"}, torch.float32).findings[0]
    assert "\033[" not in str(finding)
    assert re.sub(r"\033\[[0-9;]*m", "", finding.render(colour=True)) == str(finding)


@pytest.mark.parametrize("name", ["sd15", "emoji"])
def test_new_graph_is_right_and_never_overwrites(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", "mine", "--from", name]) == 0
    assert (
        main(["check", "mine.yaml", "model=emoji-64"] if name == "sd15" else ["check", "mine"]) == 0
    )
    assert json.loads((tmp_path / "graph.schema.json").read_text())["definitions"]["node unet"]
    capsys.readouterr()
    assert main(["new", "mine"]) == 2
    assert "mine.yaml is there already" in capsys.readouterr().err
    assert main(["new", "other", "--from", "sd16"]) == 2
    assert "did you mean 'sd15'?" in capsys.readouterr().err


def test_schema_knows_every_node_and_every_argument(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["definitions"]["block"]["properties"]["node"]["enum"] == sorted(node_types())
    for name, kind in node_types().items():
        entry = schema["definitions"][f"node {name}"]
        assert set(kind.parameters) <= set(entry["properties"])
        assert entry["description"] == kind.doc
    steps = schema["definitions"]["node schedule"]["properties"]["steps"]["anyOf"][0]
    assert (steps["minimum"], steps["type"]) == (1, "integer")
    assert shipped_graphs() == schema["definitions"]["block"]["properties"]["graph"]["examples"]
