"""Models rest on the host: copies bring their weights to a device, here one that only counts."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import nodes  # noqa: F401
from graph import Graph, Literal, bind, calls_of, load, load_text
from nodes.load import load_vae
from nodes.models import AutoencoderKL, pack
from nodes.models.packed import Packed
from runtime import Session
from runtime.batch import one_by_one
from runtime.cache.cache import Cache
from runtime.check import estimate
from runtime.memory.ladder import with_savings
from runtime.memory.rest import brought, is_model, streamed
from runtime.memory.rungs import Saving
from runtime.meter import Meter
from runtime.plan import make_plan
from runtime.tensors import tensors_of
from tests.graph_mutations import as_text, base_graphs

CPU = torch.device("cpu")
WIDTH = 256
LAYER = 4 * WIDTH * WIDTH  # bytes
UNET = "denoise/cond+uncond"


class FakeDevice:
    """Counts what is moved to it, in order."""

    def __init__(self) -> None:
        self.moved: list[tuple[int, ...]] = []

    def __call__(self, tensor: Tensor) -> Tensor:
        self.moved.append(tuple(tensor.shape))
        return tensor.clone()


@pytest.fixture
def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Linear(WIDTH, WIDTH + number, bias=False) for number in (0, 0, 4)]
    return nn.Sequential(*layers, nn.LayerNorm(WIDTH + 4)).requires_grad_(False)


def weights(network: nn.Module) -> list[int]:
    return [it.data_ptr() for it in network.parameters()]


def test_layers_bring_their_weights_at_their_first_call_and_keep_them(
    network: nn.Sequential,
) -> None:
    device, x, own = FakeDevice(), torch.randn(2, WIDTH), weights(network)
    copy = brought(network, device)
    assert device.moved == [(WIDTH + 4,), (WIDTH + 4,)]  # small ones at once
    for _ in range(2):
        assert torch.equal(copy(x), network(x))
        assert device.moved[2:] == [(WIDTH, WIDTH), (WIDTH, WIDTH), (WIDTH + 4, WIDTH)]
    assert weights(network) == own
    assert not set(weights(copy)) & set(own)


def test_layers_bring_their_weights_at_each_call_and_let_them_go(network: nn.Sequential) -> None:
    device, x, own = FakeDevice(), torch.randn(2, WIDTH), weights(network)
    copy = streamed(network, device)
    for _ in range(2):
        assert torch.equal(copy(x), network(x))
    assert device.moved[2:] == 2 * [(WIDTH, WIDTH), (WIDTH, WIDTH), (WIDTH + 4, WIDTH)]
    assert weights(network) == own


def test_what_is_held_is_all_layers_or_one(network: nn.Sequential) -> None:
    x = torch.randn(2, WIDTH)
    held: dict[str, tuple[int, int]] = {}
    for way in (brought, streamed):
        with Meter() as meter:
            resting = sum(it.detach().nbytes for it in network.parameters())
            copy = way(network, FakeDevice())
            copy(x)
            now, peak = meter.now - resting, meter.peak - resting
            held[way.__name__] = round(now / LAYER), round(peak / LAYER)
            del copy
            assert meter.now == resting
    assert held == {"brought": (3, 3), "streamed": (0, 1)}


def test_packed_weights_stay_in_their_file_and_are_plain_on_another_device() -> None:
    vae = load_vae("emoji-64", CPU, torch.float32)
    resting = [it for it in vae.modules() if isinstance(it, Packed)]
    latents = torch.randn(1, vae.channels, 8, 8)
    with torch.inference_mode():
        for way in (brought, streamed):
            device = FakeDevice()
            here = way(vae, device).decode(latents)
            assert torch.equal(here, load_vae("emoji-64", CPU, torch.float32).decode(latents))
            assert len(device.moved) > len(resting)
    assert all(it.read is not None for it in resting)


def test_a_packed_network_is_converted_as_any_other() -> None:
    plain = AutoencoderKL.from_config({"block_out_channels": (32,), "norm_num_groups": 8})
    packed = pack(AutoencoderKL.from_config({"block_out_channels": (32,), "norm_num_groups": 8}))
    for network in (plain, packed):
        assert network.to(torch.bfloat16).decoder.conv_in.weight.dtype == torch.bfloat16


@dataclass
class Adapter:
    """A model in a dataclass, which may hold itself."""

    network: nn.Linear
    layers: list[Tensor]
    next: "Adapter | None" = None


def test_what_holds_a_model_is_told_by_its_annotation() -> None:
    assert [is_model(it) for it in (nn.Linear, Adapter, Adapter | None, Tensor, str, None)] == [
        True, True, True, False, False, False,
    ]  # fmt: skip


def test_tensors_beside_networks_are_brought_at_once() -> None:
    device = FakeDevice()
    copy = brought(Adapter(nn.Linear(2, 2), [torch.ones(3)]), device)
    assert isinstance(copy, Adapter)
    assert sorted(device.moved) == [(2,), (2, 2), (3,)]


def planned(name: str, **inputs: object) -> tuple[Graph, dict[str, object]]:
    graph = load(name)
    known = bind(graph, {"model": "emoji-64", "prompt": "a fox", **inputs})
    return make_plan(graph, known), known


def needs(plan: Graph, known: dict[str, object]) -> dict[str, int]:
    report = estimate(plan, known, torch.float32)
    assert report.findings == []
    return {cost.name: cost.peak_bytes for cost in report.costs}


def test_a_model_is_on_the_device_for_the_blocks_alone_that_use_it() -> None:
    plan, known = planned("sd15")
    rested = with_savings(plan, [Saving("rest", UNET)])
    assert [block.name for block in rested.blocks if " for " in block.name] == [
        "text/encoder for text/text", "text/encoder for no_text/text", "unet for noise",
        "vae for noise", "unet for denoise", "vae for image",
    ]  # fmt: skip
    before, after = needs(plan, known), needs(rested, known)
    vae = before["vae"] - before["unet"]
    assert after["vae"] < vae / 10
    assert before[UNET] - after[UNET] > 0.9 * vae
    assert with_savings(rested, [Saving("rest", UNET)]) is rested


def test_a_model_that_is_made_of_one_that_rests_rests_too() -> None:
    plan, _ = planned("perturbed-attention")
    rested = with_savings(plan, [Saving("rest", UNET)])
    copies = [block.name for block in rested.blocks if block.name.endswith(" for denoise")]
    assert copies == ["unet for denoise", "worse for denoise"]


def test_a_loop_that_makes_models_makes_them_on_the_host() -> None:
    plan, _ = planned("lora", loras=["a.safetensors", "b.safetensors"], weights=[1.0, 0.5])
    rested = with_savings(plan, [Saving("rest", UNET)])
    names = {block.name for block in rested.blocks}
    assert "changed for denoise/denoise" in names
    assert "unet for changed" not in names
    loaders = [call for call in calls_of(rested.blocks) if call.node.name.startswith("load_l")]
    assert [call.arguments["device"] for call in loaders] == [Literal(CPU)]


def test_layers_are_streamed_for_the_block_that_is_short_alone() -> None:
    plan, known = planned("sd15")
    streaming = with_savings(plan, [Saving("stream", UNET)])
    nodes_of = {call.name: call.node.name for call in calls_of(streaming.blocks)}
    assert nodes_of["unet for denoise"] == "bring_by_layer"
    assert nodes_of["vae for image"] == nodes_of["unet for noise"] == "bring"
    assert needs(streaming, known)[UNET] < needs(plan, known)[UNET] / 3
    assert with_savings(streaming, [Saving("stream", UNET)]) is streaming


def test_batches_are_split_into_pictures() -> None:
    plan, known = planned("sd15", count=4)
    parts = with_savings(plan, [Saving("split", UNET)])
    whole, split = needs(plan, known), needs(parts, known)
    assert split[UNET] - whole["vae"] < (whole[UNET] - whole["vae"]) / 2.5
    assert with_savings(plan, [Saving("split", "image")]) is plan


def test_one_by_one_gives_each_picture_what_is_its_own() -> None:
    seen: list[tuple[int, ...]] = []

    def add(a: Tensor, shared: Tensor, time: Tensor, none: None) -> tuple[Tensor, None]:
        seen.append((len(a), len(shared), time.ndim))
        return a + shared + time, none

    given = {"a": torch.eye(3), "shared": torch.ones(1, 3), "time": torch.tensor(2.0), "none": None}
    whole, none = one_by_one(add, **given)
    assert torch.equal(whole, torch.eye(3) + 3)
    assert none is None
    assert seen == 3 * [(1, 1, 0)]


@pytest.fixture(scope="module")
def foxes(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[Saving]], Tensor]:
    """Give a function that draws two foxes with some savings."""
    given = {"model": "emoji-64", "prompt": "a fox", "count": 2, "steps": 2}
    output = str(tmp_path_factory.mktemp("foxes") / "x.png")

    def draw(savings: list[Saving]) -> Tensor:
        session = Session("cpu", "float32", cache=None, savings=savings)
        return session(load("sd15"), **given, output=output)["image"]

    return draw


@pytest.fixture(scope="module")
def plain_foxes(foxes: Callable[[list[Saving]], Tensor]) -> Tensor:
    return foxes([])


@pytest.mark.parametrize(
    "savings",
    [
        [("rest", UNET)], [("stream", UNET)], [("split", UNET)], [("stream", "image")],
        [("rest", UNET), ("split", UNET), ("stream", UNET), ("small tiles", "image")],
    ],
    ids=str,
)  # fmt: skip
def test_measures_change_no_pixel(
    savings: list[tuple[str, str]], foxes: Callable[[list[Saving]], Tensor], plain_foxes: Tensor
) -> None:
    assert torch.equal(foxes([Saving(*it) for it in savings]), plain_foxes)


@pytest.mark.slow
def test_no_measure_changes_a_pixel_of_any_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    graphs = {name: load_text(as_text(data)) for name, data in base_graphs(tmp_path).items()}
    for name, graph in graphs.items():
        plan = make_plan(graph, bind(graph, {}))
        calls = [call.name for call in calls_of(plan.blocks)]
        savings = [Saving("rest", ""), *(Saving("stream", call) for call in calls)]
        plain, sparing = (
            Session("cpu", "float32", cache=None, savings=taken)(graph) for taken in ((), savings)
        )
        pairs = zip(tensors_of(plain), tensors_of(sparing), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs), name


def test_copies_are_not_remembered_and_what_is_made_with_them_is(tmp_path: Path) -> None:
    cache, graph = Cache(10**9), load("emoji")
    session = Session("cpu", "float32", cache=cache, savings=[Saving("rest", UNET)])
    given = {"steps": 1, "output": str(tmp_path / "x.png")}
    first = session(graph, prompt="a fox", **given)["image"]
    assert torch.equal(session(graph, prompt="a fox", **given)["image"], first)
    assert dict(cache.explained())["picture/image"] == "did not run: its value is in memory"
    session(graph, prompt="a cat", **given)
    why = dict(cache.explained())
    assert why["picture/unet"] == "did not run: its value is in memory"
    assert why["picture/unet for picture/denoise"] == "ran: its value is not kept"
