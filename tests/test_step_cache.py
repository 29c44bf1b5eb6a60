"""DeepCache: what is taken over from another step, and what is computed anew."""

import pytest
import torch

import nodes
from graph import load
from nodes.denoise import unet
from nodes.kinds import SchedulerConfig
from nodes.load import load_unet
from nodes.models import Residuals
from nodes.schedule import schedule
from nodes.step_cache import cached_unet, refresh_steps
from runtime import Session

assert nodes.__all__  # importing registers the node types
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network(tiny_stable_diffusion):
    return load_unet(str(tiny_stable_diffusion), CPU, torch.float32)


@pytest.fixture
def given(network):
    generator = torch.Generator().manual_seed(2)
    sample = torch.randn(2, 4, 16, 24, generator=generator)
    text = torch.randn(1, 9, 32, generator=generator)
    widths, size = network.config.skip_widths, torch.tensor([16, 24])
    shrunk = [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    control = Residuals(
        tuple(
            0.1 * torch.randn(2, width, *(size // 2**level).tolist(), generator=generator)
            for width, level in zip(widths, shrunk, strict=True)
        ),
        0.1 * torch.randn(2, 64, 2, 3, generator=generator),
    )
    features = tuple(
        0.1 * torch.randn(2, width, *(size // 2**level).tolist(), generator=generator)
        for level, width in enumerate(network.config.block_out_channels)
    )
    return {"sample": sample, "text": text, "control": control, "adapter": features}


def test_features_of_the_same_step_give_the_same_prediction(network, given, relative):
    whole = unet(network, timestep=torch.tensor(301.0), **given)
    asked = {"model": network, "timestep": torch.tensor(301.0), **given}
    first = cached_unet(refresh=True, deep=None, **asked)
    assert torch.equal(first.prediction, whole)
    again = cached_unet(refresh=False, deep=first.deep, **asked)
    assert relative(again.prediction, whole) < 1e-6
    assert torch.equal(again.deep, first.deep)


def test_features_of_another_step_are_kept_until_they_are_refreshed(network, given):
    before = cached_unet(network, timestep=torch.tensor(500.0), refresh=True, deep=None, **given)
    asked = {"model": network, "timestep": torch.tensor(301.0), "deep": before.deep, **given}
    kept, fresh = (cached_unet(refresh=refresh, **asked) for refresh in (False, True))
    assert torch.equal(kept.deep, before.deep)
    assert not torch.equal(fresh.deep, before.deep)
    assert (kept.prediction - fresh.prediction).abs().max() > 1e-4
    assert torch.equal(fresh.prediction, unet(network, timestep=torch.tensor(301.0), **given))


def test_only_networks_that_read_a_text_are_cached(tiny_ddpm):
    network = load_unet(str(tiny_ddpm), CPU, torch.float32, subfolder="")
    with pytest.raises(ValueError, match="`model` is told no text, and only networks that are"):
        cached_unet(network, torch.zeros(1, 3, 8, 8), torch.tensor(1.0), refresh=True, deep=None)


def test_the_whole_network_runs_at_every_so_many_steps():
    plan = schedule(SchedulerConfig({}), CPU, "ddim", 5)
    assert refresh_steps(plan, 2) == [True, False, True, False, True]
    assert refresh_steps(plan, 1) == [True] * 5


@pytest.mark.slow
def test_a_graph_that_caches_nothing_is_plain(tmp_path, relative):
    inputs = {"model": "emoji-64", "prompt": "two cats on a blue background", "steps": 6}
    inputs |= {"output": str(tmp_path / "out.png")}
    plain = Session("cpu", "float32")(load("sd15"), **inputs)["image"]
    images = [
        Session("cpu", "float32")(load("deep-cache"), every=every, **inputs)["image"]
        for every in (1, 2)
    ]
    assert relative(images[0], plain) < 1e-4
    assert (images[1] - plain).abs().max() > 0.01
