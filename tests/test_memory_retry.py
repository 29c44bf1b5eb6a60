"""Memory runs out during a run: the block is made again by the next measure, and nothing else is."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated

import pytest
import torch
from torch import Tensor, nn

import nodes  # noqa: F401
from graph import Graph, Registry, Sparing, load_text, node_types
from nodes.kinds import Device, Dtype, Image, Latents
from nodes.metadata import Provenance
from runtime import MemorySpared, RunError, Session

ROOT = Path(__file__).parent.parent
OWN = Registry()
OWN.types.own.update(node_types())
calls = Counter[str]()
records: list[dict[str, object]] = []


class Doubling(nn.Linear):
    """A network that doubles: half a megabyte of weights."""


@OWN.node
def load_doubling(device: Device, dtype: Dtype) -> Doubling:
    """Load the network."""
    calls[f"load on {device}"] += 1
    network = Doubling(256, 256, bias=False, device=device, dtype=dtype).requires_grad_(False)
    network.weight.copy_(2 * torch.eye(256))
    return network


@OWN.node
def ones(count: int, device: Device) -> Latents:
    """Make pictures."""
    calls["ones"] += 1
    return torch.ones(count, 1, 256, 256, device=device)


@OWN.node(effect=True)
def note(image: Latents) -> str:
    """Have an effect before memory runs out."""
    calls["note"] += 1
    return "noted"


@OWN.node(batched=True)
def double(network: Doubling, sample: Latents, most: int) -> Latents:
    """Run out of memory with more than so many pictures."""
    calls["double"] += 1
    if len(sample) > most:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.00 GiB")
    return network(sample)


@OWN.node
def draw(
    latents: Latents, most: int, tile: Annotated[int | None, Sparing((512, 256))] = None
) -> Image:
    """Run out of memory where tiles are larger than so many pixels."""
    calls["draw"] += 1
    if (tile or 1024) > most:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
    return latents


@OWN.node(effect=True)
def keep_record(image: Image, provenance: Provenance = None) -> str:
    """Keep the record."""
    calls["keep"] += 1
    assert provenance is not None
    records.append(provenance())
    return "kept"


GRAPH = """\
inputs: {most: 1, tile: 256}
nodes:
  network: {node: load_doubling}
  sample: {node: ones, count: 3}
  noted: {node: note, image: $sample}
  doubled: {node: double, network: $network, sample: $sample, most: $most}
  image: {node: draw, latents: $doubled, most: $tile}
  kept: {node: keep_record, image: $image}
outputs: {image: $image, noted: $noted, kept: $kept}
"""


def graph() -> Graph:
    return load_text(GRAPH, "short.yaml", OWN)


@pytest.fixture(autouse=True)
def forget() -> None:
    calls.clear()
    records.clear()


def run(**inputs: int) -> tuple[dict[str, object], list[str]]:
    told: list[str] = []

    def listen(event: object) -> None:
        if isinstance(event, MemorySpared):
            told.append(str(event))

    return Session("cpu", "float32", listen)(graph(), **inputs), told


def test_a_block_that_found_no_memory_is_made_again_by_the_next_measure() -> None:
    outputs, told = run()
    assert told == [
        "doubled: models rest until a block uses them, for memory ran out",
        "doubled: one picture at a time, for memory ran out",
        "image: in tiles, for memory ran out",
        "image: in small tiles, for memory ran out",
    ]
    assert isinstance(outputs["image"], Tensor)
    assert torch.equal(outputs["image"], torch.full((3, 1, 256, 256), 2.0))
    assert (outputs["noted"], outputs["kept"]) == ("noted", "kept")
    # The network is loaded where each measure wants it; all else is made once.
    assert calls == {
        "load on meta": 1,
        "load on cpu": 3,
        "ones": 1,
        "note": 1,
        "double": 2 + 3,
        "draw": 3,
        "keep": 1,
    }
    assert records[0]["savings"] == (
        ("rest", "doubled"), ("split", "doubled"), ("tiles", "image"), ("small tiles", "image"),
    )  # fmt: skip


def test_where_memory_is_enough_nothing_is_done() -> None:
    assert run(most=3, tile=1024)[1] == []


def test_what_no_measure_helps_fails_with_what_was_tried() -> None:
    with pytest.raises(RunError) as caught:
        Session("cpu", "float32", memory="64GB")(graph(), tile=64)
    message = str(caught.value)
    assert message.startswith(
        "short.yaml:7:3: 'image' (draw) failed: RuntimeError: [enforce fail] DefaultCPUAllocator: "
        "can't allocate memory\n"
    )
    assert message.endswith(
        "\n  most: 64\n  tile: 256\n  latents: 3×1×256×256 float32 on cpu\n"
        "  help: a smaller width, height or count, `tile` where pictures are encoded or decoded, or "
        "--dtype bfloat16; run-graph check GRAPH --cost foretells what a run needs\n"
        "  tried: doubled: models rest until a block uses them, for memory ran out\n"
        "  tried: doubled: one picture at a time, for memory ran out\n"
        "  tried: image: in tiles, for memory ran out\n"
        "  tried: image: in small tiles, for memory ran out\n"
        "  memory: 64 GB for weights and tensors"
    )


def test_what_is_kept_for_other_runs_is_let_go() -> None:
    session = Session("cpu", "float32")
    session(graph(), most=3, tile=512)
    kept = session.cache
    with pytest.raises(RunError):
        session(graph(), most=3, tile=64)
    assert kept is not None
    assert kept.memory.bytes == 0


REAL = """
import resource
import nodes
from graph import load_text
from runtime import MemorySpared, Session
from tests.test_memory import DECODE, OWN

def listen(event):
    if isinstance(event, MemorySpared):
        print(event, flush=True)

session = Session("cpu", "float32", listen, cache=None)
small, large = (load_text(DECODE.replace("72", side), "g.yaml", OWN) for side in ("32", "136"))
session(small, output="warm.png")  # so that libraries have what they keep
with open("/proc/self/statm") as file:
    most = 4096 * int(file.read().split()[0]) + 55_000_000
resource.setrlimit(resource.RLIMIT_AS, (most, most))
session(large, output="x.png")
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux to limit memory")
def test_a_decode_that_the_system_gives_no_memory_is_made_in_tiles(tmp_path: Path) -> None:
    """It needs between 70 and 80 MB whole and in tiles of 512 pixels, and at most 40 in tiles of 256."""
    # Freed memory goes back to the system at once, so that the limit is that of what is held.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", REAL], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "image: in small tiles, for memory ran out"
    assert (tmp_path / "x.png").exists()
