"""The sampler as nodes: its table, its first state, its one step."""

import json
from typing import Annotated

from pydantic import Field

from graph import node

from .kinds import Device, Latents, Prediction, Schedule, SchedulerConfig, State, Step
from .schedulers import make_table
from .schedulers import step as advance
from .weights import find_config


@node
def load_scheduler_config(
    model: str,
    subfolder: str = "scheduler",
    revision: str | None = None,
) -> SchedulerConfig:
    """Read the `scheduler_config.json` of a checkpoint."""
    path = find_config(model, subfolder, "scheduler_config.json", revision)
    return SchedulerConfig(json.loads(path.read_text()))


@node
def schedule(
    config: SchedulerConfig,
    device: Device,
    scheduler: Annotated[
        str, Field(description="auto = the one that the checkpoint names")
    ] = "auto",
    steps: Annotated[int, Field(ge=1, le=1000, description="how often to denoise")] = 25,
) -> Schedule:
    """Lay out a sampler over the timesteps, as one small matrix for every call of the network."""
    table = make_table(config.values, scheduler, steps)
    return Schedule(table, tuple(table.rows(device)))


@node
def start(schedule: Schedule, noise: Latents) -> State:
    """Begin with pure noise and an empty memory."""
    sample = noise * schedule.table.initial_scale
    return State(sample, sample.new_zeros(schedule.table.memory, *sample.shape))


@node
def scheduler_step(
    step: Step, state: State, prediction: Prediction, noise: Latents | None = None
) -> State:
    """Take one step of the sampler: less noise, by what the network predicted."""
    return State(*advance(step.row, state.sample, prediction, noise, state.memory, step.clipping))
