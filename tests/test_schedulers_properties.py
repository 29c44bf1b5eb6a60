"""What must hold of every table, with no oracle beside it."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nodes.kinds import State
from nodes.schedulers import SCHEDULERS, Table, make_table, step
from nodes.schedulers.config import resolve
from nodes.schedulers.families import FAMILIES
from nodes.schedulers.formulas import Inputs, Solver, adams_bashforth
from nodes.schedulers.levels import estimate, level_from_ratio
from nodes.schedulers.solvers import exponential_rule

torch.set_num_threads(1)

STABLE_DIFFUSION: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
}
NAMES = [
    name
    for name in SCHEDULERS
    if name not in FAMILIES and not name.endswith(("_exponential", "_beta"))
]
DETERMINISTIC = ["ddim", "pndm", "euler", "lms", "heun", "dpm_2", "dpmpp_2m", "dpmpp_3m"]
DETERMINISTIC += ["dpmpp_2s", "dpmpp_3s", "unipc", "euler_karras", "dpmpp_2m_karras", "deis"]
DETERMINISTIC += ["edm_euler", "edm_dpmpp_2m", "flow_euler", "flow_heun", "lms_karras"]
STOCHASTIC = ["ddpm", "euler_ancestral", "dpmpp_2m_sde", "dpm_2_ancestral", "tcd"]


def table_of(name: str, steps: int = 12, **fields: Any) -> Table:
    """Build a table on the noise levels of Stable Diffusion."""
    return make_table({**STABLE_DIFFUSION, **fields}, name, steps)


def start_of(table: Table, clean: Tensor, noise: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return a noised sample at the level of the first row, and an empty memory."""
    sample = float(table.alphas[0]) * clean + float(table.sigmas[0]) * noise
    return sample, torch.zeros(table.memory, *noise.shape, dtype=noise.dtype).unbind()


def draw(shape: tuple[int, ...] = (2, 3, 4, 4)) -> Tensor:
    """Draw float64 noise, the same every time."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def predict_noise(sample: Tensor, timestep: Tensor) -> Tensor:
    """Stand in for a network."""
    return torch.tanh(sample.roll(1, dims=1) + torch.sin(timestep / 300))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=6, deadline=None)
@given(
    steps=st.integers(1, 50),
    spacing=st.sampled_from(["linspace", "leading", "trailing"]),
    start=st.integers(0, 49),
)
def test_every_table_is_finite_and_descends(
    name: str, steps: int, spacing: str, start: int
) -> None:
    fields = {"timestep_spacing": spacing} if name != "ddim_inverse" else {}
    table = make_table({**STABLE_DIFFUSION, **fields}, name, steps, start=min(start, steps - 1))
    assert table.update.isfinite().all()
    assert table.predict.isfinite().all()
    assert table.update.shape[1:] == (1 + table.memory, 4 + table.memory)
    assert len(table.noisy) == len(table.timesteps) == len(table.alphas) == len(table.update)
    if name.startswith(("flow", "edm", "ddim_inverse")):
        return
    assert table.timesteps.min() >= 0
    assert table.timesteps.max() <= 999
    assert (table.sigmas.diff() < 1e-12).all()


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_a_constant_clean_estimate_is_reached(name: str) -> None:
    """Whoever is told the same picture at every level arrives there, on a straight path."""
    table = table_of(name)
    clean, noise = draw() / 2, draw().flip(0)
    sample, memory = start_of(table, clean, noise)
    for i, row in enumerate(table.rows(dtype=torch.float64)):
        level = float(table.alphas[i]) * clean + float(table.sigmas[i]) * noise
        if not (name == "pndm" and i == 1):  # asked ahead of time, from the doubled step
            assert (sample - level).abs().max() < 1e-9
        prediction = (clean - row.predict[0] * sample) / row.predict[1]
        sample, memory = step(row, sample, prediction, None, memory)
    assert (sample - clean).abs().max() < (0.2 if name in ("pndm", "deis") else 1e-9)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_fresh_noise_keeps_the_level(name: str) -> None:
    """Of a noised picture, a step keeps alpha' of the picture and sigma' of noise in all."""
    table = table_of(name)
    levels = torch.stack([table.alphas, table.sigmas], dim=1)
    truth = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)  # prediction, clean
    remembered = {"dpmpp_2m_sde": torch.tensor([[1.0, 0.0]], dtype=torch.float64)}
    for i in range(1, len(levels) - 1):
        if name == "dpm_2_ancestral":
            remembered[name] = levels[i - 1 : i]
            if i % 2 == 0:  # goes ahead to ask, without noise
                continue
        inputs = torch.cat([levels[i : i + 1], truth])  # in pictures and noise
        of_clean, of_noise = table.update[i, 0, :3] @ inputs
        if name in remembered:
            of_memory = table.update[i, 0, 4:] @ remembered[name]
            of_clean, of_noise = of_clean + of_memory[0], of_noise + of_memory[1]
        assert float(of_clean) == pytest.approx(float(table.alphas[i + 1]), abs=1e-9)
        total = math.hypot(float(of_noise), float(table.update[i, 0, 3]))
        assert total == pytest.approx(float(table.sigmas[i + 1]), abs=1e-9)


def folded(table: Table) -> Tensor:
    """Return what of (sample, prediction) goes into the next sample, without clipping."""
    return table.update[:, 0, :2] + table.update[:, 0, 2:3] * table.predict  # (N, 2)


def test_ancestral_is_ddim_with_eta_one_is_ddpm() -> None:
    fields = {**STABLE_DIFFUSION, "timestep_spacing": "leading"}
    ancestral = make_table(fields, "euler_ancestral", 10)
    posterior = make_table(fields, "ddpm", 10)
    eta = make_table(fields, "ddim", 10, eta=1.0)
    expected = folded(ancestral)
    torch.testing.assert_close(folded(posterior), expected, rtol=1e-6, atol=1e-6)
    # DDIM ends every step a whole stride down, the last one below the first timestep.
    torch.testing.assert_close(folded(eta)[:-1], expected[:-1], rtol=1e-6, atol=1e-6)
    for table in (posterior, eta):
        added, wanted = table.update[:-1, 0, 3], ancestral.update[:-1, 0, 3]
        torch.testing.assert_close(added, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "name",
    ["DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler", "DEISMultistepScheduler"],
)
def test_first_order_rows_are_ddim(name: str) -> None:
    table = make_table({**STABLE_DIFFUSION, "solver_order": 1}, name, 12)
    alphas, sigmas = table.alphas, table.sigmas
    of_sample = alphas[1:] / alphas[:-1]
    expected = torch.stack([of_sample, sigmas[1:] - of_sample * sigmas[:-1]], dim=1)
    torch.testing.assert_close(folded(table)[:-1], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["unipc", "lms", "dpmpp_3m", "dpmpp_3s", "heun", "pndm"])
def test_the_first_row_is_ddim(name: str) -> None:
    table = table_of(name)
    alphas, sigmas = table.alphas, table.sigmas
    of_sample = alphas[1] / alphas[0]
    expected = torch.stack([of_sample, sigmas[1] - of_sample * sigmas[0]])
    torch.testing.assert_close(folded(table)[0], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_may_be_cut_anywhere(name: str) -> None:
    """Head rows, then tail rows with the state handed over, are bit for bit the whole run."""
    table = table_of(name, 6)
    noise = draw().float()

    def run(rows: range, state: State) -> State:
        sample, memory = state
        for i in rows:
            row = table.rows()[i]
            prediction = predict_noise(sample, row.timestep)
            fresh = noise.roll(i) if table.noisy[i] else None
            sample, memory = step(row, sample, prediction, fresh, memory)
        return State(sample, memory)

    count = len(table.timesteps)
    memory = torch.zeros(table.memory, *noise.shape).unbind()
    start = State(table.initial_scale * noise, memory)
    whole, _ = run(range(count), start)
    for cut in range(1, count):
        tail, _ = run(range(cut, count), run(range(cut), start))
        assert torch.equal(tail, whole)


def test_a_picture_does_not_depend_on_its_batch() -> None:
    table = table_of("unipc", 6)
    noise = draw((3, 4, 8, 8)).float()

    def run(noise: Tensor) -> Tensor:
        sample, memory = noise, torch.zeros(table.memory, *noise.shape).unbind()
        for row in table.rows():
            sample, memory = step(row, sample, predict_noise(sample, row.timestep), None, memory)
        return sample

    assert torch.equal(run(noise)[1:2], run(noise[1:2]))


@pytest.mark.parametrize("name", ["dpmpp_2m", "dpmpp_3m", "lms"])
def test_forgetting_turns_multistep_into_first_order(name: str) -> None:
    """Without the memory of earlier estimates each row must be the first row of a new run."""
    config, noise = STABLE_DIFFUSION, draw()
    for start in range(9):
        forgetful = make_table(config, name, 10, start=start)
        grid = make_table(config, name, 10)
        (row, *_), (_, *_) = forgetful.rows(dtype=torch.float64), grid.rows()
        memory = torch.zeros(forgetful.memory, *noise.shape, dtype=torch.float64).unbind()
        prediction = predict_noise(noise, row.timestep)
        found, _ = step(row, noise, prediction, None, memory)
        alpha, sigma = forgetful.alphas[0], forgetful.sigmas[0]
        clean = (noise - sigma * prediction) / alpha
        expected = forgetful.alphas[1] * clean + forgetful.sigmas[1] * prediction
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", [n for n in NAMES if not n.startswith("ddim_inverse")])
def test_the_matrix_says_what_the_formula_says(name: str) -> None:
    """The rows take random estimates to the samples that the formula takes them to."""
    class_name, chosen = resolve(STABLE_DIFFUSION, name)
    grid = FAMILIES[class_name].grid(chosen, 6)
    solver: Solver = FAMILIES[class_name].solver(chosen, grid)
    table = table_of(name, 6)
    generator = torch.Generator().manual_seed(5)
    memory, kept = (torch.zeros(it.memory, 7, dtype=torch.float64) for it in (solver, table))
    for i, level in enumerate(solver.levels):
        vectors = torch.randn(4, 7, generator=generator, dtype=torch.float64)
        sample, prediction, clean, noise = vectors
        deviation = chosen.get("sigma_data")
        _, predicted = estimate(
            chosen["prediction_type"], level, sample, prediction, deviation=deviation
        )
        rest = predicted
        if table.clipping is not None:
            rest = (sample - level.alpha * clean) / level.sigma
        inputs = Inputs(sample, prediction, clean, rest, predicted, noise, tuple(memory))
        expected, *memory = solver.move(i, inputs)
        found, *kept = table.update[i] @ torch.stack([*vectors, *kept])
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize(
    ("name", "slots"), [("unipc", 2), ("uni_pc_bh2", 3), ("sa_solver", 2), ("pndm", 3), ("lms", 3)]
)
def test_what_is_read_in_one_mixture_alone_is_remembered_as_one(name: str, slots: int) -> None:
    class_name, chosen = resolve(STABLE_DIFFUSION, name)
    solver: Solver = FAMILIES[class_name].solver(chosen, FAMILIES[class_name].grid(chosen, 9))
    assert table_of(name, 9).memory == slots
    assert solver.memory == slots + (name != "lms")  # each of whose estimates has a weight apart
    assert table_of(name, 1).memory == 0  # nothing is read that no row before has written


@pytest.mark.parametrize("clipped", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_step_does_what_the_matrix_says(name: str, clipped: bool) -> None:
    """What a row leaves out of its matrix is zero; gradients are those of the matrix, too."""
    table = table_of(name, 6, clip_sample=clipped)
    generator = torch.Generator().manual_seed(6)
    for i, row in enumerate(table.rows(dtype=torch.float64)):
        shape = (4 + table.memory, 1, 1, 1, 7)
        columns = torch.randn(shape, generator=generator, dtype=torch.float64)
        sample, prediction, _, noise, *memory = columns.requires_grad_().unbind()
        clean = table.predict[i, 0] * sample + table.predict[i, 1] * prediction
        if table.clipping is not None:
            clean = clean.clamp(-table.clipping.limit, table.clipping.limit)
        vectors = torch.stack([sample, prediction, clean, noise, *memory])
        expected = torch.tensordot(table.update[i], vectors, dims=1)
        moved, kept = step(row, sample, prediction, noise, tuple(memory))
        torch.testing.assert_close(torch.stack([moved, *kept]), expected, rtol=1e-9, atol=1e-7)
        (found,), (wanted,) = (
            torch.autograd.grad(each.square().sum(), columns, retain_graph=True)
            for each in (moved, expected[0])
        )
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize(
    "name", ["euler", "euler_ancestral", "dpmpp_2m", "heun", "ddpm", "dpmpp_sde"]
)
def test_the_last_row_returns_the_clean_estimate(name: str) -> None:
    table = table_of(name, timestep_spacing="trailing")
    torch.testing.assert_close(folded(table)[-1], table.predict[-1], rtol=1e-9, atol=1e-9)
    assert table.update[-1, 0, 3:].abs().max() <= 1e-9


@pytest.mark.parametrize("name", ["ddim", "tcd"])
def test_without_eta_no_noise_is_drawn(name: str) -> None:
    table = make_table(STABLE_DIFFUSION, name, 6, eta=0.0)
    assert not any(table.noisy)
    assert table.update[:, :, 3].abs().max() == 0


def test_no_shift_is_an_identity() -> None:
    plain = make_table({"_class_name": "FlowMatchEulerDiscreteScheduler"}, steps=5)
    dynamic = make_table(
        {"_class_name": "FlowMatchEulerDiscreteScheduler", "use_dynamic_shifting": True},
        steps=5,
        mu=0.0,
    )
    torch.testing.assert_close(plain.update, dynamic.update, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("of_noise", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_polynomials_are_integrated_exactly(count: int, of_noise: bool) -> None:
    """An exact step through `count` estimates leaves nothing out of a polynomial in lambda."""
    levels = [level_from_ratio(ratio) for ratio in (4.0, 3.1, 2.2, 1.5, 0.7)]
    start, end = levels[3], levels[4]

    def estimated(log: Tensor) -> Tensor:
        return torch.stack([(log - k / 2) ** k * (k + 1) for k in range(count)]).sum(dim=0)

    sample = torch.ones(1).double()
    logs = [level.half_log_snr for level in levels]
    settings = {"algorithm_type": "dpmsolver" if of_noise else "dpmsolver++", "solver_type": "heun"}
    rule = exponential_rule(settings, start, end, levels[3::-1][:count])
    known = [estimated(torch.tensor([logs[3 - k]], dtype=torch.float64)) for k in range(count)]
    found = rule.move(sample, known, torch.zeros(1).double())
    points = torch.linspace(logs[3], logs[4], 20001, dtype=torch.float64)
    sign = -1 if of_noise else 1  # clean adds with exp(lambda), noise with -exp(-lambda)
    values = estimated(points) * torch.exp(sign * points) * sign
    integral = torch.trapezoid(values, points)
    scale = (start.alpha, end.alpha) if of_noise else (start.sigma, end.sigma)
    torch.testing.assert_close(
        found, scale[1] * (sample / scale[0] + integral), rtol=1e-7, atol=1e-7
    )


def test_equal_spacing_gives_the_weights_of_adams_and_bashforth() -> None:
    for count, weights in ((2, [3, -1]), (3, [23, -16, 5]), (4, [55, -59, 37, -9])):
        found = torch.tensor(adams_bashforth([-float(k) for k in range(count)])).double()
        expected = torch.tensor(weights, dtype=torch.float64)
        torch.testing.assert_close(found, expected / expected.sum())


def test_res_multistep_weighs_by_the_phi_functions() -> None:
    """Of this clean estimate and the one before, as arXiv:2308.02157 does."""
    table = table_of("res_multistep", 8)
    logs = torch.log(table.alphas / table.sigmas)
    for i in range(1, 7):
        h, back = logs[i + 1] - logs[i], logs[i - 1] - logs[i]
        phi_1 = -torch.expm1(-h) / h
        phi_2 = (1 - phi_1) / h
        before = table.alphas[i + 1] * h * phi_2 * h / back
        now = table.alphas[i + 1] * h * phi_1 - before
        torch.testing.assert_close(table.update[i, 0, 2], now, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(table.update[i, 0, 4], before, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_state_stays_in_float32(dtype: torch.dtype) -> None:
    table, noise = table_of("dpmpp_2m_sde", 4), draw().float()
    memory = torch.zeros(table.memory, *noise.shape).unbind()
    sample, memory = step(table.rows()[0], noise, noise.to(dtype), noise.to(dtype), memory)
    assert {part.dtype for part in (sample, *memory)} == {torch.float32}
