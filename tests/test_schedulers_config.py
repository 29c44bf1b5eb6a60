"""Names, configs, grids: what a scheduler_config.json comes to, and what is refused how."""

from typing import Any

import pytest
import torch

from nodes.schedulers import SCHEDULERS, make_table, resolve
from nodes.schedulers.families import FAMILIES

STABLE_DIFFUSION: dict[str, Any] = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": "0.6.0",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
    "clip_sample": False,
}
STABLE_DIFFUSION_XL = {
    "_class_name": "EulerDiscreteScheduler",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "interpolation_type": "linear",
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "sample_max_value": 1.0,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "trained_betas": None,
    "use_karras_sigmas": False,
}


@pytest.mark.parametrize(
    ("name", "fields", "steps", "expected"),
    [
        ("ddim", {"timestep_spacing": "leading"}, 5, [801, 601, 401, 201, 1]),
        ("ddim", {"timestep_spacing": "linspace"}, 5, [999, 749, 500, 250, 0]),
        ("ddim", {"timestep_spacing": "trailing"}, 5, [999, 799, 599, 399, 199]),
        ("euler", {"timestep_spacing": "linspace"}, 5, [999, 749.25, 499.5, 249.75, 0]),
        ("dpmpp_2m", {"timestep_spacing": "leading"}, 5, [831, 665, 499, 333, 167]),
        ("unipc", {"timestep_spacing": "linspace"}, 5, [999, 799, 599, 400, 200]),
        ("dpmpp_2m_karras", {}, 5, [999, 786, 427, 59, 0]),
        ("dpmpp_2m_exponential", {}, 5, [998, 680, 233, 20, 0]),
        ("lcm", {}, 4, [999, 759, 499, 259]),
        ("tcd", {}, 8, [999, 879, 759, 639, 499, 379, 259, 139]),
    ],
)
def test_grids_are_those_of_published_runs(
    name: str, fields: dict[str, Any], steps: int, expected: list[float]
) -> None:
    table = make_table({**STABLE_DIFFUSION, **fields}, name, steps)
    assert table.timesteps.tolist() == expected


def test_flow_grids_are_those_of_published_runs() -> None:
    flow = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}
    assert make_table(flow, "dpmpp_2m", 4).timesteps.tolist() == [999, 899, 749, 499]
    assert make_table(flow, "unipc", 4).timesteps.tolist() == [999, 900, 750, 500]
    twice = make_table({"shift": 3.0}, "flow_euler", 28)
    assert float(twice.sigmas[-1]) == pytest.approx(0.00893, abs=1e-5)


def test_a_shift_may_act_once() -> None:
    once = make_table({"shift": 3.0, "shift_once": True}, "flow_euler", 28)
    even = [1 + i * (0.001 - 1) / 27 for i in range(28)]
    explicit = make_table({"shift": 3.0}, "flow_euler", sigmas=even)
    torch.testing.assert_close(once.sigmas, explicit.sigmas)
    assert float(once.sigmas[-1]) == pytest.approx(0.00299, abs=1e-5)


def test_first_samples_are_scaled_as_published() -> None:
    linspace = make_table(STABLE_DIFFUSION, "euler", 5)
    ratio = linspace.sigmas[0] / linspace.alphas[0]
    assert float(ratio) == pytest.approx(14.61465, abs=1e-5)
    assert linspace.initial_scale == pytest.approx(float(linspace.sigmas[0]))
    assert make_table(STABLE_DIFFUSION_XL, steps=5).initial_scale == 1


def test_a_config_names_its_own_scheduler() -> None:
    table = make_table(STABLE_DIFFUSION, steps=25)
    assert table.name == "PNDMScheduler"
    assert table.timesteps.tolist()[:4] == [961, 921, 921, 881]
    assert len(table.timesteps) == 26


def test_a_swap_takes_what_the_file_says_and_the_new_class_defaults() -> None:
    swapped = make_table(STABLE_DIFFUSION, "unipc", 25)  # says no spacing: UniPC's own, linspace
    assert swapped.timesteps.tolist()[:3] == [999, 959, 919]
    explicit = make_table(STABLE_DIFFUSION_XL, "dpmpp_2m", 30)
    assert explicit.timesteps.tolist()[:2] == [961, 929]
    by_default = {"timestep_spacing": "leading", "_use_default_values": ["timestep_spacing"]}
    dropped = make_table({**STABLE_DIFFUSION, **by_default}, "unipc", 25)
    assert dropped.timesteps.tolist()[:3] == [999, 959, 919]


def test_values_of_a_sibling_class_are_translated() -> None:
    config = {"_class_name": "DPMSolverMultistepScheduler", "solver_type": "midpoint"}
    assert (
        resolve({**config, "algorithm_type": "dpmsolver++"}, "deis")[1]["solver_type"] == "logrho"
    )
    assert resolve(config, "unipc")[1]["solver_type"] == "bh2"
    config = {"_class_name": "UniPCMultistepScheduler", "solver_type": "bh2"}
    assert resolve(config, "DPMSolverMultistepScheduler")[1]["solver_type"] == "midpoint"


def test_every_name_has_one_line() -> None:
    assert set(FAMILIES) <= set(SCHEDULERS)
    for name, scheduler in SCHEDULERS.items():
        assert scheduler.family in FAMILIES, name
        assert scheduler.description.endswith(".")
        assert "\n" not in scheduler.description


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scheduler": "dpmpp2m"}, "scheduler 'dpmpp2m' is not known .*'dpmpp_2m'"),
        ({"_class_name": "EulerDiscrete"}, "_class_name 'EulerDiscrete' .*EulerDiscreteScheduler"),
        ({"beta_strat": 0.1}, "config field 'beta_strat' .*did you mean 'beta_start'"),
        ({"beta_schedule": "cosine"}, "PNDMScheduler's beta_schedule 'cosine' is not known"),
        ({"prediction_type": "sample"}, "PNDMScheduler's prediction_type 'sample'"),
        ({"beta_start": "0.1"}, "beta_start must be a number, not '0.1'"),
        ({"skip_prk_steps": 1}, "skip_prk_steps must be true or false, not 1"),
        ({"beta_end": float("nan")}, r"every beta must lie in \[0, 1\)"),
        ({"beta_end": 2.0}, r"every beta must lie in \[0, 1\)"),
        ({"trained_betas": [0.1, 0.2]}, "trained_betas has 2 entries, but num_train_timesteps"),
        ({"steps": 0}, "steps must be between 1 and 1000"),
        ({"steps": 1001}, "steps must be between 1 and 1000"),
        ({"steps": 1000}, "timestep 1000 lies outside the training grid"),
        ({"start": 25}, "start must be between 0 and 24"),
        ({"skip_prk_steps": False, "steps": 3}, "needs at least 4 steps .* not 3 steps"),
        ({"scheduler": "lcm", "steps": 51}, r"steps must be at most 50 \(original_inference"),
        ({"eta": 0.5}, "PNDMScheduler takes no eta; DDIMScheduler, TCDScheduler do"),
        ({"scheduler": "euler", "timesteps": [1, 2]}, "timesteps must be strictly decreasing"),
        ({"scheduler": "euler_karras", "timesteps": [2, 1]}, "give only one of timesteps"),
        (
            {"scheduler": "euler", "use_karras_sigmas": True, "use_beta_sigmas": True},
            "only one of .* may be true, found use_karras_sigmas and use_beta_sigmas",
        ),
        (
            {"scheduler": "unipc", "prediction_type": "flow_prediction"},
            "'flow_prediction' needs use_flow_sigmas",
        ),
        (
            {"scheduler": "DPMSolverMultistepScheduler", "algorithm_type": "dpmsolver"},
            "'dpmsolver' needs final_sigmas_type 'sigma_min'",
        ),
        (
            {"scheduler": "UniPCMultistepScheduler", "predict_x0": False},
            "predict_x0 false needs final_sigmas_type 'sigma_min'",
        ),
        (
            {"scheduler": "unipc", "lower_order_final": False},
            "lower_order_final false needs final_sigmas_type 'sigma_min'",
        ),
        (
            {"scheduler": "ddim", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
            "prediction_type 'epsilon' cannot start from pure noise",
        ),
        (  # on 1000 timesteps 1000 steps and a spare one repeat a level
            {"scheduler": "deis", "timestep_spacing": "linspace", "steps": 1000},
            "DEISMultistepScheduler has no finite table for these settings and 1000 steps",
        ),
        (
            {"scheduler": "flow_euler"},
            r"do not describe noise levels in the same terms \(beta_schedule and shift\)",
        ),
        (
            {
                "_class_name": "FlowMatchEulerDiscreteScheduler",
                "scheduler": "flow_euler",
                "use_dynamic_shifting": True,
            },
            "mu .* must be given",
        ),
    ],
)
def test_what_cannot_be_is_refused(arguments: dict[str, Any], message: str) -> None:
    options = {"scheduler", "steps", "start", "eta", "timesteps"}
    config = {key: value for key, value in arguments.items() if key not in options}
    chosen = {key: value for key, value in arguments.items() if key in options}
    with pytest.raises(ValueError, match=message):
        make_table({**STABLE_DIFFUSION, **config}, **chosen)


def test_a_table_is_in_float64_on_the_host() -> None:
    table = make_table(STABLE_DIFFUSION, "unipc", 8)
    for tensor in (table.timesteps, table.alphas, table.sigmas, table.predict, table.update):
        assert tensor.dtype == torch.float64
        assert tensor.device.type == "cpu"
    for row in table.rows():
        weights = [weights for _, weights in row.update.sums]
        assert {part.dtype for part in (row.timestep, row.predict, *weights)} == {torch.float32}
