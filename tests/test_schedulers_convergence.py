"""The order of every solver, on a mixture of Gaussians whose score is known."""

import math
from functools import cache

import pytest
import torch
from torch import Tensor

from nodes.schedulers import make_table, step

torch.set_num_threads(1)

STABLE_DIFFUSION = {
    "_class_name": "EulerDiscreteScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "timestep_spacing": "linspace",
    "use_exponential_sigmas": True,
    "lower_order_final": False,
    "final_sigmas_type": "sigma_min",
    "clip_sample": False,
}
MEANS = torch.tensor([-1.2, 0.3, 1.5], dtype=torch.float64)
WEIGHTS = torch.tensor([0.3, 0.5, 0.2], dtype=torch.float64)
DEVIATION = 0.5
START = torch.linspace(-2, 2, 33, dtype=torch.float64)


def exact_noise(sample: Tensor, alpha: float, sigma: float) -> Tensor:
    """Return the expected noise in a noised sample of the mixture."""
    variance = alpha**2 * DEVIATION**2 + sigma**2
    offsets = sample[:, None] - alpha * MEANS  # (33, 3)
    share = torch.softmax(WEIGHTS.log() - offsets**2 / (2 * variance), dim=1)
    return sigma * (share * offsets).sum(dim=1) / variance


@cache
def exact_end(high: float, low: float) -> Tensor:
    """Follow the probability flow in sigma / alpha by many Runge-Kutta steps; end in its scale."""
    count = 4000
    moved = START * math.sqrt(1 + high**2)

    def slope(moved: Tensor, log: float) -> Tensor:
        ratio = math.exp(log)
        alpha = 1 / math.sqrt(1 + ratio**2)
        return ratio * exact_noise(alpha * moved, alpha, ratio * alpha)

    h = (math.log(low) - math.log(high)) / count
    for i in range(count):
        log = math.log(high) + i * h
        k1 = slope(moved, log)
        k2 = slope(moved + h / 2 * k1, log + h / 2)
        k3 = slope(moved + h / 2 * k2, log + h / 2)
        k4 = slope(moved + h * k3, log + h)
        moved = moved + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return moved


def error_of(name: str, steps: int, **fields: object) -> float:
    """Run to the last level of the grid and compare with the exact end there."""
    table = make_table({**STABLE_DIFFUSION, **fields}, name, steps)
    alphas, sigmas = table.alphas.tolist(), table.sigmas.tolist()
    sample = START[:, None, None, None]  # 33 1 1 1
    memory = torch.zeros(table.memory, *sample.shape, dtype=torch.float64).unbind()
    for i, row in enumerate(table.rows(dtype=torch.float64)[:-1]):
        prediction = exact_noise(sample.flatten(), alphas[i], sigmas[i]).view(sample.shape)
        sample, memory = step(row, sample, prediction, None, memory)
    end = exact_end(round(sigmas[0] / alphas[0], 9), round(sigmas[-1] / alphas[-1], 9))
    return (sample.flatten() / alphas[-1] - end).abs().max().item()


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("euler", 0.9),
        ("heun", 1.9),
        ("dpm_2", 1.9),
        ("lms", 2.9),
        ("dpmpp_2m", 1.8),
        ("dpmpp_3m", 1.8),
        ("dpmpp_3m_exact", 2.4),  # its first two steps are of lower order
        ("dpmpp_2s", 1.8),
        ("dpmpp_3s", 2.8),
        ("deis", 1.8),
        ("unipc", 2.8),
    ],
)
def test_halving_the_steps_halves_the_error_so_often(name: str, order: float) -> None:
    coarse, fine = error_of(name, 61), error_of(name, 121)
    measured = math.log2(coarse / fine)
    print(f"{name}: order {measured:.2f}, error {fine:.1e} at 120 steps")
    assert measured >= order


def test_higher_orders_are_better() -> None:
    euler, second, third = (error_of(name, 31) for name in ("euler", "dpmpp_2m", "unipc"))
    assert third < second < euler
