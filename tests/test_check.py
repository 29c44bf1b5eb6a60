"""What a check says of whole graphs, and the verbs around it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from graph import GraphError, bind, load, load_text, node_types, shipped_graphs
from runtime.check import check_shapes
from runtime.cli import main
from tests.check_graphs import PARTS, checked


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
    assert [finding.place.line for finding in report.findings if finding.place] == [13, 15]
    assert "c" not in report.shapes


def test_what_needs_numbers_is_told_and_no_mistake() -> None:
    report = checked(PARTS + "  b: {node: brighten, sample: $half}\noutputs: {b: $b}\n")
    assert (report.findings, report.unchecked) == ([], ["b"])


def test_what_only_numbers_tell_is_known_by_its_shape() -> None:
    report = checked(
        PARTS
        + """\
  colours: {node: fit_preview, vae: $vae}
  seen: {node: preview, colours: $colours, latents: $noise.initial}
  image: {node: vae_decode, vae: $vae, latents: $noise.initial}
  edges: {node: canny, image: $image}
outputs: {seen: $seen, edges: $edges}
"""
    )
    assert (report.findings, report.unchecked) == ([], [])
    shapes = [report.shapes[name] for name in ("seen", "edges")]
    assert shapes == ["1×3×16×16 float32", "1×3×64×64 float32"]


def test_an_input_that_is_not_given_is_unknown() -> None:
    graph = load("sd15")
    report = check_shapes(graph, {"model": "emoji-64"}, torch.float32)
    assert report.findings == []


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "sd15", "model=emoji-64"]) == 0
    assert "not given, nor checked what hangs on it: prompt" in capsys.readouterr().out
    words = ["check", "sd15", "model=emoji-64", "prompt=x"]
    assert main([*words, "--cost"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("sd15: names, types and shapes are right\n")
    assert re.search(r"denoise/cond\+uncond +unet +25 ", out)
    assert main([*words, "width=70", "height=64", "--json"]) == 2
    said = json.loads(capsys.readouterr().out)
    assert said["findings"][0]["line"] == 28
    assert said["findings"][0]["message"].startswith("'noise' (noise): width must be a multiple")
    assert main(["check", "sd15", "stesp=3", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["findings"][0]["help"] == "did you mean 'steps'?"


def test_help_needs_no_torch() -> None:
    told = (
        "import sys; from runtime.cli import main; main(['--help']); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")


def test_a_device_or_precision_that_is_none_is_told_at_its_place() -> None:
    with pytest.raises(GraphError) as caught:
        load_text("nodes:\n  a: {node: load_vae, model: x, device: gpu, dtype: half16}\n", "g.yaml")
    assert [(str(it.place), it.message) for it in caught.value.findings] == [
        ("g.yaml:2:41", "'device' of 'load_vae' must be cpu, cuda, cuda:1 or mps, "
                        "found the text 'gpu'"),
        ("g.yaml:2:53", "'dtype' of 'load_vae' must be float32, bfloat16 or float16, "
                        "found the text 'half16'"),
    ]  # fmt: skip


def test_colour_is_for_terminals() -> None:
    graph = load("sd15")
    finding = check_shapes(graph, {"model": "nowhere"}, torch.float32).findings[0]
    assert "\033[" not in str(finding)
    assert re.sub(r"\033\[[0-9;]*m", "", finding.render(colour=True)) == str(finding)


ABSENT = """\
sd15.yaml:4:3: 'unet' (load_unet): 'a/b' is not on this machine and the hub cannot be reached; \
download it once while online, or give a folder
    unet: {node: load_unet, model: a/b}
    ^
  help: wanted by 'vae' and 'text' too
sd15.yaml:6:3: 'old' (load_vae): 'c/d' is not on this machine and the hub cannot be reached; \
download it once while online, or give a folder
    old:  {node: load_vae, model: c/d}
    ^
"""
LOADED = """\
# Four parts of two checkpoints.

nodes:
  unet: {node: load_unet, model: a/b}
  vae:  {node: load_vae, model: a/b}
  old:  {node: load_vae, model: c/d}
  text: {node: load_text_encoder, model: a/b}
  seen: {node: load_image, path: PICTURE}
  part: {node: crop_image, image: $seen, left: 0, top: 0, width: 64, height: 64}
outputs: {unet: $unet, vae: $vae, old: $old, text: $text, part: $part}
"""


def test_a_checkpoint_that_is_not_there_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = Path(__file__).parent.parent / "docs" / "images" / "demo.png"
    monkeypatch.chdir(tmp_path)
    graph = LOADED.replace("PICTURE", str(picture))
    Path("sd15.yaml").write_text(graph)
    assert main(["check", "sd15.yaml", "--offline"]) == 1
    last = "sd15.yaml: names and types are right, shapes are not known\n"
    assert capsys.readouterr() == ("", ABSENT + last)
    Path("sd15.yaml").write_text(graph.replace("width: 64", "width: 10000"))
    assert main(["check", "sd15.yaml", "--offline"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(ABSENT)
    assert "the rectangle ends at 10000, 64" in err
    assert last not in err


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
    assert main(["new", "nowhere/mine"]) == 2
    assert (
        "'nowhere/mine.yaml' cannot be written: No such file or directory"
        in capsys.readouterr().err
    )
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


def test_what_a_loop_carries_may_be_null_at_first():
    graph = load("deep-cache")
    given = bind(graph, {"model": "emoji-64", "prompt": "a cat"})
    assert not check_shapes(graph, given, torch.float32).findings
