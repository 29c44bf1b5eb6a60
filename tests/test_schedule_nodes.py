"""Partial runs through the runtime: image to image, heads and tails, saved states; fixed shapes."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import nodes
from graph import bind, load_text, node, node_type
from nodes.kinds import Latents, Prediction, SchedulerConfig, Timestep
from nodes.schedulers import SCHEDULERS, make_table, step
from runtime import RunError, Session
from runtime.check import check_shapes

assert nodes.__all__  # importing registers the node types
CONFIG = {
    "_class_name": "EulerDiscreteScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "skip_prk_steps": True,
    "timestep_spacing": "leading",
}
LOOP = """
    for:   {{step: ${steps}, fresh: ${fresh}.fresh}}
    carry: {{state: {{from: ${state}, then: $next}}}}
    nodes:
      prediction: {{node: stand_in, sample: $state.sample, timestep: $step.timestep}}
      next: {{node: scheduler_step, step: $step, state: $state, prediction: $prediction,
             noise: $fresh}}
"""
PICTURE = """
inputs: {{model: , unet_model: , scheduler: ddim{inputs}}}
nodes:
  unet:     {{node: load_unet, model: $unet_model}}
  config:   {{node: load_scheduler_config, model: $model}}
  schedule: {{node: schedule, config: $config, scheduler: $scheduler, steps: 6}}
  noise:    {{node: noise, unet: $unet, schedule: $schedule, seed: 3, count: 2}}
  start:    {{node: start, schedule: $schedule, noise: $noise.initial}}
"""
WHOLE = (
    PICTURE.format(inputs="")
    + "  run:"
    + LOOP.format(steps="schedule", fresh="noise", state="start")
)
PART = ', calls: 1, path: ""'
SPLIT = f"""{PICTURE.format(inputs=PART)}
  parts: {{node: split_after, schedule: $schedule, calls: $calls}}
  head_noise: {{node: noise, unet: $unet, schedule: $parts.head, seed: 3, count: 2}}
  tail_noise: {{node: noise, unet: $unet, schedule: $parts.tail, seed: 3, count: 2}}
  head:{LOOP.format(steps="parts.head", fresh="head_noise", state="start")}
  saved: {{node: save_state, state: $head.state, path: $path}}
  run:{LOOP.format(steps="parts.tail", fresh="tail_noise", state="head.state")}
"""
RESUMED = f"""{PICTURE.format(inputs=PART)}
  parts: {{node: split_after, schedule: $schedule, calls: $calls}}
  loaded: {{node: load_state, path: $path}}
  tail_noise: {{node: noise, unet: $unet, schedule: $parts.tail, seed: 3, count: 2}}
  run:{LOOP.format(steps="parts.tail", fresh="tail_noise", state="loaded")}
"""
OUTPUTS = "\noutputs: {sample: $run.state.sample}\n"


@node
def stand_in(sample: Latents, timestep: Timestep) -> Prediction:
    """Predict something smooth, and bounded."""
    return torch.tanh(sample.roll(1, dims=1) + torch.sin(timestep / 300))


@pytest.fixture
def run(tmp_path: Path, tiny_ddpm: Path) -> Any:
    (tmp_path / "scheduler_config.json").write_text(json.dumps(CONFIG))

    def sample(text: str, **inputs: Any) -> Tensor:
        graph = load_text(text + OUTPUTS)
        given = {"model": str(tmp_path), "unet_model": str(tiny_ddpm), **inputs}
        return Session("cpu", "float32")(graph, **given)["sample"]

    return sample


@pytest.mark.parametrize(
    "scheduler",
    [
        "unipc", "dpmpp_2m_sde",
        *(pytest.param(it, marks=pytest.mark.slow) for it in ("heun", "ddpm", "pndm", "sa_solver")),
    ],
)  # fmt: skip
def test_a_split_run_is_the_whole_one_and_checked(
    run: Any, tmp_path: Path, tiny_ddpm: Path, scheduler: str
) -> None:
    whole = run(WHOLE, scheduler=scheduler)
    for calls in (1, 4):
        path = str(tmp_path / "state.safetensors")
        given = {"scheduler": scheduler, "calls": calls, "path": path}
        assert torch.equal(run(SPLIT, **given), whole)
        assert torch.equal(run(RESUMED, **given), whole)
    graph = load_text(RESUMED + OUTPUTS)
    known = bind(graph, {"model": str(tmp_path), "unet_model": str(tiny_ddpm), **given})
    report = check_shapes(graph, known, torch.float32)
    assert (report.findings, report.unchecked) == ([], [])


def test_base_and_refiner_through_the_runtime(run: Any) -> None:
    by_noise = SPLIT.replace("{node: split_after, schedule: $schedule, calls: $calls}",
                             "{node: split, schedule: $schedule, fraction: 0.7}")  # fmt: skip
    unused = by_noise.replace(', calls: 1, path: ""', "").replace(
        "  saved: {node: save_state, state: $head.state, path: $path}\n", ""
    )
    assert torch.equal(run(unused, scheduler="dpmpp_2m_sde"), run(WHOLE, scheduler="dpmpp_2m_sde"))


def test_image_to_image_through_the_runtime(run: Any) -> None:
    text = PICTURE.format(inputs="").replace("steps: 6}", "steps: 6, strength: 0.5}")
    text += "  from: {node: start_from, schedule: $schedule, latents: $start.sample, "
    text += "noise: $noise.initial}\n  run:"
    text += LOOP.format(steps="schedule", fresh="noise", state="from")
    varied = run(text, scheduler="unipc")
    assert varied.isfinite().all()
    assert not torch.equal(varied, run(WHOLE, scheduler="unipc"))


def test_base_and_refiner_split_where_diffusers_splits() -> None:
    parts = node_type("split").function(_schedule("euler", 30), 0.8)
    times = [[float(row.timestep) for row in part] for part in parts]
    assert len(times[0]) + len(times[1]) == 30
    assert min(times[0]) >= 200 > max(times[1])
    assert parts.tail.first == len(parts.head)
    again = node_type("split_after").function(parts.tail, 1)
    assert again.tail.first == len(parts.head) + 1


def _schedule(scheduler: str, steps: int, **options: Any) -> Any:
    config = SchedulerConfig(CONFIG)
    return node_type("schedule").function(config, torch.device("cpu"), scheduler, steps, **options)


def test_image_to_image_begins_in_the_middle() -> None:
    whole, part = _schedule("ddim", 10), _schedule("ddim", 10, strength=0.65)
    assert torch.equal(part.table.timesteps, whole.table.timesteps[4:])
    picture, noise = torch.ones(1, 3, 4, 4), torch.full((1, 3, 4, 4), 2.0)
    state = node_type("start_from").function(part, picture, noise)
    alpha, sigma = float(part.table.alphas[0]), float(part.table.sigmas[0])
    torch.testing.assert_close(state.sample, alpha * picture + sigma * noise)
    tail = node_type("split_after").function(whole, 4).tail
    assert torch.equal(node_type("start_from").function(tail, picture, noise).sample, state.sample)


def test_published_roundings_of_strength() -> None:
    flow = {"_class_name": "FlowMatchEulerDiscreteScheduler"}
    for strength, others, of_flow in ((0.65, 6, 7), (0.6, 6, 6), (1.0, 10, 10), (0.11, 1, 2)):
        assert len(make_table(CONFIG, "euler", 10, strength=strength).timesteps) == others
        assert len(make_table(flow, steps=10, strength=strength).timesteps) == of_flow


def test_options_reach_the_table() -> None:
    given = [999.0, 845.0, 730.0, 587.0, 443.0, 310.0, 193.0, 116.0, 53.0, 13.0]
    assert _schedule("euler", 4, timesteps=given).table.timesteps.tolist() == given
    assert len(_schedule("euler", 4, sigmas=[14.6, 1.4, 0.4, 0.0])) == 3
    assert any(_schedule("ddim", 4, eta=1.0).table.noisy)
    shifted = make_table({"_class_name": "FlowMatchEulerDiscreteScheduler"}, steps=4, shift=3.0)
    published = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}
    assert torch.equal(shifted.update, make_table(published, steps=4).update)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": 0.01}, r"strength must be between 1 / 6 \(steps\) and 1, not 0.01"),
        ({"strength": float("nan")}, "strength must be between .* not nan"),
        ({"mu": 0.5, "scheduler": "dpmpp_2m"}, "mu needs use_dynamic_shifting true"),
        ({"shift": 3.0, "scheduler": "dpmpp_2m"}, "shift needs use_flow_sigmas true"),
        ({"shift": 3.0}, "EulerDiscreteScheduler takes no shift; .*FlowMatchEuler"),
        ({"sigmas": [3.0, 1.0, 0.0], "timesteps": [3.0]}, "give only one of timesteps, sigmas"),
        ({"timesteps": [float("nan"), 1.0]}, "timesteps must be strictly decreasing"),
        ({"steps": 0}, "steps must be between 1 and 1000"),
        ({"scheduler": "dpmpp_2s_a"}, "scheduler 'dpmpp_2s_a' is not known .* did you mean"),
    ],
)
def test_impossible_schedules_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_table(CONFIG, **{"scheduler": "auto", "steps": 6, **options})


@pytest.mark.parametrize("shift", [0.0, -1.0, float("nan")])
def test_a_shift_is_positive(shift: float) -> None:
    with pytest.raises(ValueError, match="shift must be above 0, not"):
        make_table({"_class_name": "FlowMatchEulerDiscreteScheduler"}, steps=4, shift=shift)


def test_splitting_beyond_the_end_names_the_node(run: Any, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot split after 9 calls: the schedule makes 6"):
        run(SPLIT, calls=9, path=str(tmp_path / "state"))


@pytest.mark.parametrize(
    ("people", "ours"),
    [
        ("DPM++ 2M Karras", "dpmpp_2m_karras"), ("DPM++ 2M SDE Karras", "dpmpp_2m_sde_karras"),
        ("Euler a", "euler_ancestral"), ("euler_a", "euler_ancestral"),
        ("DPM2 a", "dpm_2_ancestral"),
        ("dpm_2_a", "dpm_2_ancestral"), ("LMS Karras", "lms_karras"), ("PLMS", "pndm"),
        ("DPM++ SDE Karras", "dpmpp_sde_karras"), ("UniPC", "unipc"), ("DDIM", "ddim"),
        ("DPM++ 2M SDE Heun Karras", "dpmpp_2m_sde_heun_karras"), ("DPM2", "dpm_2"),
        ("dpmpp_2m_sde_gpu", "dpmpp_2m_sde"), ("dpmpp_3m_sde_gpu", "dpmpp_3m_sde"),
        ("dpmpp_2m_sde_heun_gpu", "dpmpp_2m_sde_heun"), ("dpmpp_sde_gpu", "dpmpp_sde"),
    ],
)  # fmt: skip
def test_names_of_other_programs_mean_the_same(people: str, ours: str) -> None:
    found, expected = make_table(CONFIG, people, 5), make_table(CONFIG, ours, 5)
    assert torch.equal(found.update, expected.update)


BARE = [name for name, each in SCHEDULERS.items() if name not in (each.family, "ipndm")]
BARE = [n for n in BARE if not n.endswith(("_karras", "_exponential", "_beta"))]


@pytest.mark.parametrize("name", BARE)
def test_a_step_has_fixed_shapes_and_reads_no_value(name: str) -> None:
    """On the meta device there are no values: whoever looks at one, fails."""
    config = CONFIG if not name.startswith(("flow", "edm")) else {}
    table = make_table(config, name, 5)
    sample = torch.empty(2, 3, 8, 8, device="meta")
    memory = sample.new_empty(table.memory, *sample.shape).unbind()
    for row in table.rows("meta"):
        moved, remembered = step(row, sample, sample, sample, memory)
        assert moved.shape == sample.shape
        assert [kept.shape for kept in remembered] == [kept.shape for kept in memory]
        assert {kept.dtype for kept in (moved, *remembered)} == {torch.float32}


@pytest.mark.parametrize("fields", [{}, {"clip_sample": True}, {"thresholding": True}])
@pytest.mark.filterwarnings("ignore")
def test_one_compiled_graph_serves_every_row(fields: dict[str, Any]) -> None:
    table = make_table({**CONFIG, "clip_sample": False, **fields}, "ddim", 5, eta=1.0)
    torch._dynamo.reset()
    compiled = torch.compile(step, fullgraph=True, backend="eager", dynamic=False)
    generator = torch.Generator().manual_seed(0)
    sample = torch.randn(2, 3, 8, 8, generator=generator)
    memory = torch.zeros(table.memory, *sample.shape).unbind()
    torch._dynamo.utils.counters.clear()
    for row in table.rows():
        fresh = torch.randn(sample.shape, generator=generator)
        given = (row, sample, torch.tanh(sample), fresh, memory)
        found, _ = compiled(*given)
        sample, memory = step(*given)
        assert torch.equal(found, sample)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["unipc", "dpmpp_2m_sde", "ddpm"])
def test_a_loop_never_waits_for_the_device(name: str) -> None:
    table = make_table({**CONFIG, "clip_sample": True}, name, 10)
    rows, sample = table.rows("cuda"), torch.randn(2, 3, 8, 8, device="cuda")
    memory = sample.new_zeros(table.memory, *sample.shape).unbind()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for row in rows:
            given = (row, sample, torch.tanh(sample), torch.randn_like(sample), memory)
            sample, memory = step(*given)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert bool(sample.isfinite().all())
