"""What a check foretells of a run, measured against the run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from graph import Call, Graph, GraphError, bind, load, load_text
from nodes.load import load_unet, load_vae
from nodes.text import load_text_encoder
from runtime import Session
from runtime.check import check_shapes, foresee, weigh
from runtime.errors import node_failed
from tests.check_graphs import write_families
from tests.graph_mutations import as_text, base_graphs

ROOT = Path(__file__).parent.parent
META = torch.device("meta")


def counted(graph: Graph, monkeypatch: pytest.MonkeyPatch, **inputs: object) -> tuple[int, dict]:
    """Run a graph, and count what it computes."""
    # PyTorch's counter knows neither oneDNN's own operators nor the CPU's fused attention.
    monkeypatch.setattr("nodes.models.packed.can_pack", lambda _: False)
    monkeypatch.setattr("nodes.models.quantized.can_multiply_bytes", lambda: False)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        outputs = Session(device="cpu", dtype="float32")(graph, **inputs)
    return counter.get_total_flops(), outputs


@pytest.mark.parametrize(("name", "model"), [("ddpm", "emoji-32"), ("sd15", "emoji-64")])
def test_operations_and_shapes_are_those_of_the_run(
    name: str, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = load(name)
    given = {"model": model, "steps": 2, "output": str(tmp_path / "x.png")}
    inputs = bind(graph, given | ({"prompt": "a fox"} if "prompt" in graph.inputs else {}))
    flops, outputs = counted(graph, monkeypatch, **inputs)
    assert foresee(graph, inputs, torch.float32).flops == flops > 0
    report = check_shapes(graph, inputs, torch.float32)
    words = "×".join(str(side) for side in outputs["image"].shape)
    assert report.findings == []
    assert f"{words} float32" in report.shapes.values()


@pytest.mark.slow
def test_operations_are_those_of_the_run_in_every_graph_that_emojis_can_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    graphs = {name: load_text(as_text(data)) for name, data in base_graphs(tmp_path).items()}
    assert len(graphs) >= 12
    for name, graph in graphs.items():
        foreseen = foresee(graph, bind(graph, {}), torch.float32).flops
        flops, _ = counted(graph, monkeypatch)
        # What may be left out at a step is foreseen as if it never were.
        optional = "when:" in graph.source or "cached_unet" in graph.source
        assert foreseen >= flops if optional else foreseen == flops, name


@pytest.mark.slow
def test_peak_memory_is_weights_and_the_largest_tensors_together() -> None:
    graph = load("sd15")
    inputs = bind(graph, {"model": "emoji-64", "prompt": "a fox"})
    reports = [
        check_shapes(graph, inputs | {"count": count}, torch.float32) for count in (1, 64, 128)
    ]
    weights = sum(cost.weight_bytes for cost in reports[0].costs)
    one, some, many = (report.peak_bytes for report in reports)
    assert weights < one < 1.1 * weights
    assert many - some == pytest.approx(some * 64 / 64, rel=0.05)
    assert check_shapes(graph, inputs, torch.bfloat16).peak_bytes == pytest.approx(
        one / 2, rel=0.05
    )


@pytest.mark.slow
def test_weights_that_cannot_fit_are_refused_before_they_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = Session("cpu", "float32", memory="2MB")
    monkeypatch.setattr("nodes.load.load_weights", lambda *_: pytest.fail("a weight was read"))
    with pytest.raises(GraphError) as caught:
        session(load("emoji"), steps=1)
    (finding,) = caught.value.findings
    assert finding.message == (
        "'picture/denoise/cond+uncond' (unet) needs 4.06 MB in float32, and cpu has 2 MB for it; "
        "weights: picture/text/encoder 2.03 MB, picture/unet 15.3 MB, picture/vae 2.73 MB"
    )
    name = "picture/denoise/cond+uncond"
    assert finding.help == (
        f"tried: {name}: models rest until a block uses them, 19.2 MB → 16.1 MB; "
        f"{name}: models layer by layer, 16.1 MB → 4.32 MB; "
        f"{name}: one picture at a time, 4.32 MB → 4.06 MB; --dtype bfloat16 halves it"
    )


def test_the_same_weights_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    session, asked = Session("cpu", "float32"), []
    monkeypatch.setattr("runtime.session.evaluate", lambda *_: {})
    monkeypatch.setattr("runtime.memory.fit.weigh", lambda *given: asked.append(1) or weigh(*given))
    for prompt in ("a fox", "a cat"):
        session(load("emoji"), prompt=prompt)
    assert asked == [1]


def test_what_needs_less_memory_is_told_where_it_ran_out() -> None:
    call = next(block for block in load("sd15").blocks if isinstance(block, Call))
    try:
        raise torch.cuda.OutOfMemoryError("out of memory")
    except torch.cuda.OutOfMemoryError as error:
        failed = node_failed(call, {}, error)
    assert failed.message.endswith("run-graph check GRAPH --cost foretells what a run needs")


MEASURE = """
import gc, json, sys
from pathlib import Path
import torch
import nodes
from graph import bind, load
from runtime import Session
from runtime.check import foresee

def held(what):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(what))

torch.set_num_threads(2)
given = json.loads(sys.argv[1])
session = Session("cpu", "float32")
session(load("emoji"), steps=1, output="warm.png")  # so that libraries have what they keep
graph = load("sd15")
foreseen = foresee(graph, bind(graph, given), torch.float32).peak_bytes
gc.collect()
before = held("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the kernel's own record of the most begins anew
session(graph, **given)
print(json.dumps([foreseen, held("VmHWM") - before]))
"""


def write_weights(folder: Path) -> None:
    """Give a checkpoint that has configs alone weights of zeros."""
    loaders = {"unet": load_unet, "vae": load_vae, "text_encoder": load_text_encoder}
    for part, loader in loaders.items():
        value = loader(str(folder), META, torch.bfloat16)
        network = getattr(value, "clip", value)
        zeros = {
            name: torch.zeros(tensor.shape, dtype=torch.bfloat16)
            for name, tensor in network.state_dict().items()
            if not name.endswith("position_ids")
        }
        save_file(zeros, folder / part / "model.safetensors")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux to measure")
@pytest.mark.parametrize(
    "given",
    [{"model": "emoji-64", "count": 64}, {"model": "sd1", "width": 128, "height": 128}],
    ids=str,
)
def test_peak_memory_is_that_of_the_run(given: dict[str, object], tmp_path: Path) -> None:
    write_families(tmp_path)
    if given["model"] == "sd1":
        write_weights(tmp_path / "sd1")
    given = given | {"prompt": "a fox", "steps": 1, "output": "x.png"}
    # Freed memory goes back to the system at once, so that what is held can be seen.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", MEASURE, json.dumps(given)]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    foreseen, measured = json.loads(done.stdout.splitlines()[-1])
    print(f"foreseen {foreseen / 2**20:.0f} MB, measured {measured / 2**20:.0f} MB")
    assert foreseen == pytest.approx(measured, rel=0.15)
