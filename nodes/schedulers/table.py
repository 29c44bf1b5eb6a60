"""A sampler as a table: one small matrix for every network call."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations, pairwise

import torch
from torch import Tensor

from .config import Config, resolve
from .families import FAMILIES
from .formulas import Inputs
from .grids import respacing
from .levels import Level, Settings, estimate
from .step import Clipping, Row, Update


@dataclass(frozen=True, eq=False)
class Table:
    """A sampler on a grid, in float64 on the host; N rows, one for every network call.

    A row takes (sample, prediction, clean, noise, memory ...) to the next (sample, memory ...),
    all in the coordinates that the network sees. K memory slots start as zeros.
    """

    name: str  # the class that it stands for
    training_timesteps: int
    prediction_type: str  # what the network is taken to predict
    timesteps: Tensor  # (N,) what the network is told
    alphas: Tensor  # (N,) the level of the sample that the network sees:
    sigmas: Tensor  # (N,) sample = alpha * clean + sigma * noise
    predict: Tensor  # (N, 2) clean = predict . (sample, prediction)
    update: Tensor  # (N, 1+K, 4+K)
    noisy: tuple[bool, ...]  # rows that draw fresh noise, even where its factor is zero
    log_ranges: Tensor | None  # (N,) where the network predicts the variance, too
    initial_scale: float  # first sample = initial_scale * noise
    clipping: Clipping | None

    @property
    def memory(self) -> int:
        """Return the number of memory slots K."""
        return self.update.shape[1] - 1

    def rows(
        self, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> list[Row]:
        """Return the rows as views of a few tensors on `device`."""
        update = self.update.clone()
        if self.clipping is None:  # then it is a sum of sample and prediction like all else
            update[:, :, :2] += update[:, :, 2:3] * self.predict[:, None]
            update[:, :, 2] = 0
        parts = [self.timesteps, self.predict]
        parts += [] if self.log_ranges is None else [self.log_ranges]
        times, predicts, *ranges = (part.to(device, dtype).unbind() for part in parts)
        sums = _without_zeros(update, update.to(device, dtype))
        clippings = [self.clipping] * len(sums)
        rows = zip(times, predicts, sums, clippings, *ranges, strict=True)
        return [Row(*row) for row in rows]


def _without_zeros(update: Tensor, cast: Tensor) -> list[Update]:
    """Leave out of the cast matrices what no row uses; a mere copy is no sum."""
    used = (update != 0).any(dim=0)  # (1+K, 4+K)
    copied = (update == used).all(dim=2).all(dim=0) & (used.sum(dim=1) == 1)  # (1+K,)
    summed = (~copied).nonzero()[:, 0].tolist()
    places: list[int] = used[summed].any(dim=0).nonzero()[:, 0].tolist()
    if summed and not places:  # a sum of nothing is zero, too
        places = [0]
    gives: list[int] = used.int().argmax(dim=1).tolist()
    for number, output in enumerate(summed):
        gives[output] = update.shape[2] + number
    weights = cast[:, summed].permute(0, 2, 1)[..., None, None, None, None]  # N 4+K S 1 1 1 1
    if len(summed) == 1:
        weights = weights.flatten(2)[..., 0]  # N 4+K
    return [
        Update(tuple((place, matrix[place]) for place in places), tuple(gives))
        for matrix in weights.unbind()
    ]


def make_table(
    config: Config,
    scheduler: str = "auto",
    steps: int = 25,
    *,
    start: int = 0,
    strength: float = 1.0,
    eta: float | None = None,
    mu: float | None = None,
    shift: float | None = None,
    timesteps: Sequence[float] | None = None,
    sigmas: Sequence[float] | None = None,
) -> Table:
    """Build the table of a sampler from a diffusers scheduler_config.json.

    `scheduler` is "auto" (the class that the config names) or any name in SCHEDULERS; `steps` is
    the number of steps asked for, of which some samplers make more than one row. A partial run
    leaves out the first `start` steps, or all but a `strength` of them. `eta` is the stochasticity
    of DDIM and TCD, `mu` and `shift` the dynamic and the static shift of flow matching;
    `timesteps` or `sigmas` replace the grid where the class can.
    Raises ValueError for what is unknown, impossible or not implemented.
    """
    options = {"eta": eta, "mu": mu, "shift": shift, "timesteps": timesteps, "sigmas": sigmas}
    name, settings = resolve(config, scheduler, options)
    steps, skipped = _count_steps(settings, steps, start, strength)
    grid, double = FAMILIES[name].grid(settings, steps), partial(torch.tensor, dtype=torch.float64)
    grid = grid.take(range(skipped, len(grid.levels)))._replace(skipped=skipped)
    solver, clipping = FAMILIES[name].solver(settings, grid), _clipping(settings)
    basis = [_basis(settings, level, solver.memory, clipping) for level in solver.levels]
    update = torch.stack([torch.stack(solver.move(i, row)) for i, (_, row) in enumerate(basis)])
    if not bool(update.isfinite().all()):
        raise ValueError(f"{name} has no finite table for these settings and {steps} steps")
    levels = double(solver.levels)  # (N, 2)
    return Table(
        name=name,
        training_timesteps=settings["num_train_timesteps"],
        prediction_type=settings["prediction_type"],
        timesteps=double(solver.timesteps),
        alphas=levels[:, 0],
        sigmas=levels[:, 1],
        predict=torch.stack([clean[:2] for clean, _ in basis]),
        update=_less_memory(update),
        noisy=tuple(solver.noisy or [False] * len(update)),
        log_ranges=None if solver.log_ranges is None else double(solver.log_ranges),
        initial_scale=grid.initial_scale,
        clipping=clipping,
    )


def _less_memory(update: Tensor) -> Tensor:
    """Leave out slots that no row reads, and make one of two that each row reads in one mixture.

    So UniPC and SA-Solver keep what their corrector will make of the last sample and the oldest
    estimate, not both.
    """
    update = _with_slots(update, [slot for slot in _slots(update) if update[:, :, 3 + slot].any()])
    for one, other in combinations(_slots(update), 2):
        read = update[:, :, [3 + one, 3 + other]]  # (N, 1+K, 2)
        most = read.norm(dim=2).argmax(dim=1)
        mixture = read[torch.arange(len(read)), most]  # (N, 2), and what is read are shares of it
        shares = torch.einsum("nkm,nm->nk", read, mixture)
        shares /= mixture.square().sum(dim=1, keepdim=True).clamp(min=1e-300)
        rest = read - shares[..., None] * mixture[:, None]
        if rest.abs().max() <= 1e-12 * update.abs().max():
            coming = mixture.roll(-1, dims=0)[..., None]  # nobody reads what the last row keeps
            update[:, :, 3 + one] = shares
            update[:, one] = coming[:, 0] * update[:, one] + coming[:, 1] * update[:, other]
            return _less_memory(
                _with_slots(update, [slot for slot in _slots(update) if slot != other])
            )
    return update


def _slots(update: Tensor) -> range:
    return range(1, update.shape[1])


def _with_slots(update: Tensor, slots: list[int]) -> Tensor:
    """Give a copy of the matrices with these slots of memory alone."""
    return update[:, [0, *slots]][:, :, [0, 1, 2, 3, *(3 + slot for slot in slots)]]


def _count_steps(settings: Settings, steps: int, start: int, strength: float) -> tuple[int, int]:
    """Return how many steps the whole run has, and how many of them a partial run leaves out."""
    most, given = settings["num_train_timesteps"], ("timesteps", "sigmas")
    given = {what: settings[what] for what in given if settings[what] is not None}
    if len(given) + (respacing(settings) is not None) > 1:
        raise ValueError("give only one of timesteps, sigmas and a use_..._sigmas respacing")
    for what, values in given.items():
        # Sigmas over the training table end where the last step does.
        steps = len(values) - ("interpolation_type" in settings and what == "sigmas")
        if steps < 1 or not all(high > low for high, low in pairwise(values)):
            raise ValueError(f"{what} must be strictly decreasing, with a step at least: {values}")
    if not isinstance(steps, int):
        raise ValueError(f"steps must be a whole number, not {steps!r}")
    if not 1 <= steps <= most:
        raise ValueError(f"steps must be between 1 and {most} (num_train_timesteps), not {steps}")
    if not 0 <= start < steps:
        raise ValueError(f"start must be between 0 and {steps - 1} (steps - 1), not {start}")
    if not 1 / steps <= strength <= 1:
        raise ValueError(f"strength must be between 1 / {steps} (steps) and 1, not {strength:g}")
    # Published image-to-image runs round the steps of flow matching up, of all others down.
    kept = steps * strength
    rounded_up = settings["prediction_type"] == "flow_prediction" and "beta_start" not in settings
    return steps, start or (int(steps - kept) if rounded_up else steps - int(kept))


def _basis(
    settings: Settings, level: Level, memory: int, clipping: Clipping | None
) -> tuple[Tensor, Inputs]:
    """Return the clean estimate, and the rows of the identity in place of what a move combines."""
    sample, prediction, clean, noise, *slots = torch.eye(4 + memory, dtype=torch.float64)
    kind, deviation = settings["prediction_type"], settings.get("sigma_data")
    estimated, predicted = estimate(kind, level, sample, prediction, deviation)
    rest = predicted if clipping is None else (sample - level.alpha * clean) / level.sigma
    return estimated, Inputs(sample, prediction, clean, rest, predicted, noise, tuple(slots))


def _clipping(settings: Settings) -> Clipping | None:
    """Return what the config asks to clip the clean sample to; thresholding goes first."""
    if settings.get("thresholding"):
        return Clipping(settings["sample_max_value"], settings["dynamic_thresholding_ratio"])
    return Clipping(settings["clip_sample_range"]) if settings.get("clip_sample") else None
