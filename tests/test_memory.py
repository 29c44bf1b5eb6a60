"""A run holds no more than there is room for: which measures are taken, what they change, what is said."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

import nodes  # noqa: F401
from graph import Graph, GraphError, Literal, Registry, calls_of, load, load_text, node_types
from nodes.image import vae_decode
from nodes.kinds import Device, Latents
from nodes.load import load_vae
from nodes.metadata import read_record
from runtime import MemorySpared, Session
from runtime.cache.cache import Cache
from runtime.cache.memory import Memory
from runtime.cache.remember import FORGOTTEN
from runtime.cli import main
from runtime.memory.ladder import DoesNotFit, Saving, climb, with_savings
from runtime.memory.room import parse_bytes
from runtime.quantities import quantity

OWN = Registry()
OWN.types.own.update(node_types())
CPU = torch.device("cpu")


@OWN.node
def waves(side: int, device: Device) -> Latents:
    """Make latents that differ everywhere."""
    ramp = torch.linspace(-3, 3, side, device=device)
    return torch.stack([(ramp[:, None] * k + ramp).sin() for k in range(1, 5)])[None]


DECODE = """\
inputs: {output: x.png}
nodes:
  vae: {node: load_vae, model: emoji-64}
  latents: {node: waves, side: 72}
  image: {node: vae_decode, vae: $vae, latents: $latents, tile: null}
  saved: {node: save_image, image: $image, path: $output}
outputs: {image: $image}
"""


def decoding() -> Graph:
    return load_text(DECODE, "decode.yaml", OWN)


def decoded(tile: int | None) -> Tensor:
    with torch.inference_mode():
        return vae_decode(load_vae("emoji-64", CPU, torch.float32), waves(72, CPU), tile)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("6GB", 6 * 10**9), ("6.5 GiB", 13 * 2**29), ("800M", 8 * 10**8), ("800mib", 800 * 2**20),
        ("1TB", 10**12), ("12B", 12), ("12 b", 12), ("0.5k", 500),
    ],
)  # fmt: skip
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "six", "6", "6.5", "6XB", "-1GB", "6iB", "GB", "1e9"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no size of memory: write 6GB, 6\.5GiB or 800MB"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (6 * 10**9, "6 GB"), (2_790_000, "2.79 MB"), (999_499, "999 kB"), (999_600, "1 MB"),
        (999, "999 B"), (6, "6 B"), (0, "0 B"), (1_406_000 * 10**9, "1.41 PB"),
    ],
)  # fmt: skip
def test_sizes_are_written_in_the_unit_that_they_have(size: int, words: str) -> None:
    assert quantity(size, "B") == words


def test_no_memory_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="'0GB' is no size of memory: a run needs some"):
        Session("cpu", memory="0GB")


@pytest.mark.parametrize(
    ("given", "rung", "becomes"),
    [
        (None, "tiles", 512), (1024, "tiles", 512), (512, "tiles", None), (256, "tiles", None),
        (512, "small tiles", 256), (None, "small tiles", 256),
    ],
)  # fmt: skip
def test_tiles_become_smaller_and_never_larger(
    given: int | None, rung: str, becomes: int | None
) -> None:
    plan = load_text(DECODE.replace("null", str(given or "null")), "decode.yaml", OWN)
    tiled = with_savings(plan, [Saving(rung, "image")])
    if becomes is None:
        assert tiled is plan
    else:
        found = next(call for call in calls_of(tiled.blocks) if call.name == "image")
        assert found.arguments["tile"] == Literal(becomes)
    assert with_savings(plan, [Saving(rung, "latents")]) is plan


def test_a_decode_that_does_not_fit_is_made_in_tiles(tmp_path: Path) -> None:
    told: list[str] = []

    def listen(event: object) -> None:
        if isinstance(event, MemorySpared):
            told.append(str(event))

    output = tmp_path / "x.png"
    session = Session("cpu", "float32", listen, memory="30MB")
    image = session(decoding(), output=str(output))["image"]
    assert told == [
        "image: models rest until a block uses them, 33.5 MB → 32.7 MB",
        "image: in small tiles, 32.7 MB → 28.6 MB",
    ]
    assert torch.equal(image, decoded(256))
    difference = (image - decoded(None)).square().mean().sqrt()
    assert 0 < difference < 7 / 255
    record = read_record(output)
    assert record is not None
    assert record["savings"] == [["rest", "image"], ["small tiles", "image"]]


def test_what_fits_is_left_as_it_is(tmp_path: Path) -> None:
    told: list[object] = []
    session = Session("cpu", "float32", told.append, memory="50MB")
    image = session(decoding(), output=str(tmp_path / "x.png"))["image"]
    assert torch.equal(image, decoded(None))
    assert not any(isinstance(event, MemorySpared) for event in told)


def test_what_cannot_fit_is_refused_with_what_was_tried() -> None:
    with pytest.raises(GraphError) as caught:
        Session("cpu", "float32", memory="20MB")(decoding())
    assert str(caught.value) == (
        "decode.yaml:5:3: 'image' (vae_decode) needs 27.2 MB in float32, and cpu has 20 MB for "
        "it; weights: vae 2.73 MB\n"
        "    image: {node: vae_decode, vae: $vae, latents: $latents, tile: null}\n"
        "    ^\n"
        "  help: tried: image: in small tiles, 33.5 MB → 29.4 MB; "
        "image: models layer by layer, 29.4 MB → 27.2 MB; --dtype bfloat16 halves it"
    )


def test_the_call_that_needs_most_is_spared_first() -> None:
    """The needs of calls are made up, and what measures bring."""
    plan = load("sd15")
    needs = {"image": 9, "denoise/cond": 5}

    def needs_of(plan: Graph) -> dict[str, int]:
        tile = next(c for c in calls_of(plan.blocks) if c.name == "image").arguments.get("tile")
        return needs | ({"image": {512: 9, 256: 4}[tile.value]} if tile else {})

    spared = climb(plan, needs_of, 5)
    assert spared.savings == (Saving("small tiles", "image"),)
    with pytest.raises(DoesNotFit) as caught:
        climb(plan, needs_of, 4)
    assert (caught.value.call, caught.value.need) == ("denoise/cond", 5)


@pytest.mark.slow
def test_a_picture_in_tiles_is_replayed_in_tiles(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph, output = tmp_path / "decode.yaml", tmp_path / "x.png"
    graph.write_text(
        DECODE.replace("node: waves, side: 72", "node: vae_encode, vae: $vae, image: $made")
        .replace(
            "nodes:", "nodes:\n  made: {node: resize_image, image: $read, width: 288, height: 288}"
        )
        .replace("nodes:", "nodes:\n  read: {node: load_image, path: docs/images/demo.png}")
    )
    given = ["--device", "cpu", "--dtype", "float32", "--memory", "30MB", f"output={output}"]
    assert main([str(graph), *given]) == 0
    assert "image: in small tiles, " in capsys.readouterr().err
    assert main(["replay", str(output)]) == 0
    assert main([str(graph), "--memory", "lots"]) == 2
    assert "'lots' is no size of memory: write 6GB, 6.5GiB or 800MB" in capsys.readouterr().err


def test_what_is_kept_for_other_runs_is_within_what_a_plan_leaves(tmp_path: Path) -> None:
    kept: dict[str, int] = {}
    for memory in ("50MB", "33.8MB"):
        session = Session("cpu", "float32", memory=memory)
        session(decoding(), output=str(tmp_path / "x.png"))
        assert isinstance(session.cache, Cache)
        kept[memory] = session.cache.memory.bytes
    assert kept["50MB"] > 4 * 3 * 288 * 288  # the picture, and more
    assert kept["33.8MB"] < 300_000


def test_weights_that_a_run_read_late_are_counted_by_the_next(tmp_path: Path) -> None:
    session = Session("cpu", "float32", memory="50MB")
    session(decoding(), output=str(tmp_path / "x.png"))
    assert isinstance(session.cache, Cache)
    memory = session.cache.memory
    before = memory.bytes
    memory.begin_run()
    assert memory.bytes - before > 1_000_000  # the decoder's convolutions
    memory.clear()
    assert memory.bytes == 0


def test_what_a_network_has_grown_to_makes_others_go() -> None:
    memory, network, other = Memory(1000), torch.nn.Module(), torch.zeros(200)
    network.weight = torch.empty(100, device="meta")
    memory.put(b"other", other)
    memory.put(b"network", network)
    memory.put(b"its variant", [network])
    assert memory.bytes == other.nbytes
    network.weight = torch.zeros(100)
    memory.begin_run()
    assert memory.bytes == network.weight.nbytes
    assert memory.get(b"network") is network
    assert memory.get(b"other") is FORGOTTEN
