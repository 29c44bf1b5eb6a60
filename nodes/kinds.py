"""What may flow along an edge of a diffusion graph."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import BeforeValidator
from torch import Tensor

from graph import Ambient, Kind

from .models import Residuals
from .schedulers import Row, Table


def _device(value: Any) -> Any:
    try:
        return torch.device(value)
    except (RuntimeError, TypeError) as error:
        raise ValueError("must be cpu, cuda, cuda:1 or mps") from error


def _dtype(value: Any) -> Any:
    found = getattr(torch, value, None) if isinstance(value, str) else value
    if not isinstance(found, torch.dtype):
        raise ValueError("must be float32, bfloat16 or float16")
    return found


Device = Annotated[torch.device, Ambient("device"), BeforeValidator(_device)]
Dtype = Annotated[torch.dtype, Ambient("dtype"), BeforeValidator(_dtype)]

Tokens = Annotated[Tensor, Kind("tokens", "B N", "a text as the whole numbers of its pieces")]
TextEmbedding = Annotated[
    Tensor, Kind("text embedding", "B N D", "a text as a network reads it, token by token")
]
PooledText = Annotated[Tensor, Kind("pooled text", "B D", "a whole text as one vector")]
PictureSize = Annotated[
    Tensor,
    Kind("picture size", "B N", "a picture's size and crop in pixels, as SDXL's networks are told"),
]
ClassLabel = Annotated[Tensor, Kind("class label", "B ...", "the number of a class, or a vector")]
ImagePrompt = Annotated[
    Tensor,
    Kind("image prompt", "B N D", "pictures as an IP-Adapter puts them before a network"),
]
Latents = Annotated[
    Tensor,
    Kind(
        "latents",
        "B C H W",
        "what is diffused: an autoencoder's latents (no limits, their deviation about 1), "
        "or pixels in [-1, 1] where there is none",
    ),
]
Timestep = Annotated[
    Tensor, Kind("timestep", help="the time that a network is told, mostly from 999 (noise) to 0")
]
Prediction = Annotated[
    Tensor,
    Kind(
        "prediction",
        "B C H W",
        "what a network says of the noise: the noise, the velocity or the clean sample, as trained",
    ),
]
Control = Annotated[
    Residuals, Kind("control", "B C H W", "what a ControlNet adds to a UNet's skips and middle")
]
AdapterFeatures = Annotated[
    tuple[Tensor, ...],
    Kind("adapter features", "B C H W", "what a T2I-Adapter adds to a UNet on its way down"),
]
Image = Annotated[
    Tensor,
    Kind("image", "B 1|3|4 H W", "pictures in [0, 1]: grey, RGB, or RGB and how opaque they are"),
]
Mask = Annotated[
    Tensor,
    Kind("mask", "B 1 H W", "where a picture is to change: 1 = repaint, 0 = keep, or between"),
]


@dataclass(frozen=True)
class SchedulerConfig:
    """A parsed `scheduler_config.json`."""

    values: dict[str, Any]


class Step(NamedTuple):
    """One row of a schedule: what the network is told, what the sampler does with its answer."""

    timestep: Timestep
    row: Row


@dataclass(frozen=True)
class Schedule:
    """A sampler on its grid: a sequence of steps, its numbers on the device of the sample.

    A part of a schedule has the steps of some of its table's rows, from number `first` on.
    """

    table: Table
    steps: tuple[Step, ...]
    first: int = 0

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index: int) -> Step:
        return self.steps[index]

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)


class State(NamedTuple):
    """What goes from step to step: the sample in float32, and what the sampler remembers."""

    sample: Latents
    memory: tuple[Tensor, ...]  # K of the sample's shape
