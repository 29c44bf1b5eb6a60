"""The sampler as nodes: its table, its first state, its one step."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from graph import Written, came_from, did_you_mean, node

from .files import file_at, save_whole
from .fitting import expect_same_size
from .kinds import Device, Latents, Prediction, Schedule, SchedulerConfig, State, Step
from .schedulers import SCHEDULERS, estimate_clean, make_table, plain_name
from .schedulers import step as advance


def _is_known(name: str) -> str:
    if name != "auto" and plain_name(name) not in SCHEDULERS:
        hint = did_you_mean(name, SCHEDULERS) or "`run-graph schedulers` lists them"
        raise ValueError(f"must name a sampler ({hint})")
    return name


# Checked with the graph: a misspelt sampler should not be found when the networks are loaded.
SchedulerName = Annotated[
    str, AfterValidator(_is_known), Field(description="auto = the checkpoint's own")
]


@node
def schedule(
    config: SchedulerConfig,
    device: Device,
    scheduler: SchedulerName = "auto",
    steps: Annotated[int, Field(ge=1, le=1000, description="how often to denoise")] = 25,
    strength: Annotated[float, Field(gt=0, le=1, description="1 = from pure noise")] = 1.0,
    eta: Annotated[float, Field(ge=0, le=1, description="fresh noise of ddim, tcd")] | None = None,
    mu: Annotated[float, Field(description="shift of flow levels by size")] | None = None,
    shift: Annotated[float, Field(gt=0, description="shift of flow levels")] | None = None,
    timesteps: list[float] | None = None,
    sigmas: list[float] | None = None,
) -> Schedule:
    """Lay out a sampler over the timesteps, as one small matrix for every call of the network.

    `strength` below 1 leaves out the noisiest steps (image to image); `timesteps` or `sigmas`, in
    descending order, stand for `steps`. Raises ValueError for what the sampler cannot do.
    """
    chosen = {"eta": eta, "mu": mu, "shift": shift, "timesteps": timesteps, "sigmas": sigmas}
    table = make_table(config.values, scheduler, steps, strength=strength, **chosen)
    return Schedule(table, tuple(Step(row.timestep, row) for row in table.rows(device)))


@node
def start(schedule: Schedule, noise: Latents) -> State:
    """Begin with pure noise and an empty memory."""
    return _empty(schedule, noise * schedule.table.initial_scale)


@node
def start_from(schedule: Schedule, latents: Latents, noise: Latents) -> State:
    """Begin with a picture, as noisy as the first step of the schedule expects it."""
    table, first = schedule.table, schedule.first
    alpha, sigma = float(table.alphas[first]), float(table.sigmas[first])
    return _empty(schedule, alpha * latents + sigma * noise)


def _empty(schedule: Schedule, sample: Latents) -> State:
    return State(sample, sample.new_zeros(schedule.table.memory, *sample.shape).unbind())


class Parts(NamedTuple):
    """A schedule in two; the state at the end of the head begins the tail."""

    head: Schedule
    tail: Schedule


@node
def split(
    schedule: Schedule, fraction: Annotated[float, Field(gt=0, lt=1, description="of the noise")]
) -> Parts:
    """Split where the noise falls below a fraction of the training (base and refiner).

    As `denoising_end` and `denoising_start` of Stable Diffusion XL: 0.8 leaves timesteps below a
    fifth of the training to the tail.
    """
    count = schedule.table.training_timesteps
    cut, times = round(count - fraction * count), schedule.table.timesteps.tolist()
    times = times[schedule.first : schedule.first + len(schedule)]
    return split_after(schedule, sum(time >= cut for time in times))


@node
def split_after(
    schedule: Schedule, calls: Annotated[int, Field(ge=0, description="of the network")]
) -> Parts:
    """Split after some calls of the network: the tail resumes where a head was saved."""
    if calls > len(schedule):
        raise ValueError(f"cannot split after {calls} calls: the schedule makes {len(schedule)}")
    head, tail = schedule.steps[:calls], schedule.steps[calls:]
    return Parts(
        replace(schedule, steps=head), replace(schedule, steps=tail, first=schedule.first + calls)
    )


@node(effect=True)
def save_state(state: State, path: Annotated[str, Written()]) -> Path:
    """Save a state as safetensors, to be resumed by `load_state`; whole, or not at all."""
    tensors = {"sample": state.sample}
    tensors |= {f"memory.{slot}": kept for slot, kept in enumerate(state.memory)}
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    data = save(tensors)
    save_whole({Path(path): lambda file: file.write_bytes(data)})
    return Path(path)


@node(reads=file_at)
def load_state(path: str, device: Device) -> State:
    """Load a state that `save_state` saved; raises ValueError for any other file."""
    try:
        # The meta device is unknown to safetensors.
        tensors = {name: tensor.to(device) for name, tensor in load_file(path).items()}
        slots = range(len(tensors) - 1)
        state = State(tensors["sample"], tuple(tensors[f"memory.{slot}"] for slot in slots))
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"'{path}' is no state that `save_state` saved") from error
    came_from(state.sample, Path(path))
    return state


@node
def scheduler_step(
    step: Step, state: State, prediction: Prediction, noise: Latents | None = None
) -> State:
    """Take one step of the sampler: less noise, by what the network predicted.

    A network that learnt the variance predicts twice the channels. Raises ValueError for others,
    and for predictions that are neither one for all pictures nor one for each.
    """
    if prediction.shape != state.sample.shape:
        _expect_fitting(prediction, state.sample)
    return State(*advance(step.row, state.sample, prediction, noise, state.memory))


def _expect_fitting(prediction: Prediction, sample: Latents) -> None:
    pictures, predictions = len(sample), len(prediction)
    if predictions not in (1, pictures):
        raise ValueError(
            f"there are {predictions} predictions for {pictures} "
            f"{'picture' if pictures == 1 else 'pictures'}: "
            "`count` must be as many as there are prompts"
        )
    channels, predicted = sample.shape[1], prediction.shape[1]
    if predicted not in (channels, 2 * channels):
        raise ValueError(f"`prediction` has {predicted} channels, the sample of `state` {channels}")
    expect_same_size(prediction=prediction, state=sample)


@node
def clean_estimate(step: Step, sample: Latents, prediction: Prediction) -> Latents:
    """Estimate the picture without its noise, from what the network predicted at a step."""
    return estimate_clean(step.row, sample, prediction)
