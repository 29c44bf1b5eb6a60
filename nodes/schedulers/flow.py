"""Grids of flow matching: levels on the straight line from clean to noise, told as 1000 sigma."""

import math

import torch

from .grids import Grid
from .levels import Level, Settings, training_levels
from .spacing import RESPACINGS, line, respacing


def _shift(settings: Settings, sigmas: list[float], amount: float) -> list[float]:
    """Move levels towards noise, by a fixed `amount` or by what the picture's size asks (`mu`).

    Stable Diffusion 3: arXiv:2403.03206, section 5.3.2.
    """
    if settings["use_dynamic_shifting"]:
        mu = settings["mu"]
        if mu is None:
            raise ValueError(
                "use_dynamic_shifting is true, so mu (the shift by size) must be given"
            )
        amount = math.exp(mu) if settings["time_shift_type"] == "exponential" else mu
    shifted = [amount * sigma / (1 + (amount - 1) * sigma) for sigma in sigmas]
    if not settings.get("shift_terminal"):
        return shifted
    scale = (1 - shifted[-1]) / (1 - settings["shift_terminal"])
    return [1 - (1 - sigma) / scale for sigma in shifted]


def _grid(settings: Settings, sigmas: list[float], end: float, *, whole: bool = False) -> Grid:
    # Near pure noise 1 - sigma is decided by sigma's rounding to float32.
    rounded = torch.tensor([*sigmas, end], dtype=torch.float32).double().tolist()
    times = [sigma * settings["num_train_timesteps"] for sigma in sigmas]
    levels = [Level(1 - sigma, sigma) for sigma in rounded]
    return Grid([float(int(t)) for t in times] if whole else times, levels[:-1], levels[1:])


def flow_grid(settings: Settings, steps: int) -> Grid:
    """Lay sigmas evenly (or as given) and shift them.

    The ends of the even grid are shifted already, so that a fixed shift acts twice: published
    pictures of Stable Diffusion 3 depend on it. `shift_once` lays unshifted ends instead, and
    explicit sigmas are always shifted once.
    """
    shift, count = settings["shift"], settings["num_train_timesteps"]
    once = 1.0 if settings["use_dynamic_shifting"] or settings.get("shift_once") else shift
    sigmas = settings["sigmas"] or line(1.0, once / (count + once - 1), steps)
    sigmas = _shift(settings, list(sigmas), shift)
    flag = respacing(settings)
    if flag:
        sigmas = RESPACINGS[flag](sigmas[0], sigmas[-1], steps)
    if settings["invert_sigmas"]:
        return _grid(settings, [1 - sigma for sigma in sigmas], 1.0)
    return _grid(settings, sigmas, 0.0)


def flow_multistep_grid(settings: Settings, steps: int) -> Grid:
    """Lay shifted sigmas for DPM-Solver++, DEIS and UniPC, a spare point at the clean end dropped.

    UniPC begins just below pure noise, where lambda is infinite; the others a timestep lower.
    """
    low = 1 / settings["num_train_timesteps"]
    others = line(0.0, 1 - low, steps + 1)[:0:-1]
    even = line(1.0, low, steps + 1)[:-1] if "predict_x0" in settings else others
    sigmas = _shift(settings, list(settings["sigmas"] or even), settings["flow_shift"])
    sigmas[0] -= 1e-6 if abs(sigmas[0] - 1) < 1e-6 else 0.0
    end = 0.0
    if settings["final_sigmas_type"] == "sigma_min":
        dpm = settings.get("algorithm_type", "").endswith(("dpmsolver", "dpmsolver++"))
        end = training_levels(settings, finite=True)[0].ratio if dpm else sigmas[-1]
    return _grid(settings, sigmas, end, whole=True)
