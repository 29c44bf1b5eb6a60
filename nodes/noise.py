"""Where every picture begins."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from graph import node

from .fitting import expect_trained_type
from .kinds import Device, Latents, Schedule
from .models import Autoencoder, UNet

Size = Annotated[int, Field(ge=8, le=16384)] | Literal["auto"]


@dataclass(frozen=True)
class FreshNoise:
    """The noise of every step, drawn when it is walked over, and only for the steps that use it.

    Each image has a generator of its own on the CPU, seeded with its seed, which has drawn the
    image's first noise before: so image k of several is what its seed alone gives. What the steps
    before the first of these drew, the `earlier` draws, is left out: so a tail gets its own noise.
    The generators go on where they gave the last noise of `after`.
    """

    seeds: tuple[int, ...]
    shape: tuple[int, ...]  # C H W
    noisy: tuple[bool, ...]
    device: torch.device
    earlier: int = 0
    after: "FreshNoise | None" = None

    def __len__(self) -> int:
        return len(self.noisy)

    def __getitem__(self, index: int) -> Latents:
        return next(islice(self, index, None))

    def __iter__(self) -> Iterator[Latents]:
        generators = self._generators()
        for _ in range(1 + self.earlier):  # the first noise, which `initial` already gave
            self.draw(generators)
        nothing = torch.zeros(len(self.seeds), *self.shape, device=self.device)
        for noisy in self.noisy:
            yield self.draw(generators) if noisy else nothing

    def initial(self) -> Tensor:
        """Draw the noise that the images begin with."""
        return self.draw(self._generators())

    def draw(self, generators: list[torch.Generator]) -> Tensor:
        """Draw the next noise of every image: (B, C, H, W)."""
        parts = [torch.randn(1, *self.shape, generator=generator) for generator in generators]
        return (torch.cat(parts) if len(parts) > 1 else parts[0]).to(self.device)

    def _generators(self) -> list[torch.Generator]:
        if self.after is None:
            return [torch.Generator().manual_seed(seed) for seed in self.seeds]
        generators = self.after._generators()
        for _ in range(1 + self.after.earlier + sum(self.after.noisy)):
            self.after.draw(generators)
        return generators


class Noise(NamedTuple):
    """The noise of a whole run."""

    initial: Latents
    fresh: FreshNoise


@node
def noise(
    schedule: Schedule,
    device: Device,
    seed: Annotated[int, Field(ge=0, description="the same seed gives the same picture")] = 0,
    unet: UNet | None = None,
    vae: Autoencoder | None = None,
    width: Size = "auto",
    height: Size = "auto",
    count: Annotated[int, Field(ge=1, description="pictures; number k has seed + k")] = 1,
) -> Noise:
    """Draw the noise of a run: latents of `vae`, or pixels of `unet` where there is no autoencoder.

    Width and height are the picture's, in pixels; `auto` is the size that `unet` was trained at.
    Raises ValueError where a size is unknown or does not divide into latents, and where `unet`
    learnt to predict something else than the schedule takes.
    """
    if vae is None and unet is None:
        raise ValueError(
            "noise needs `vae`, or `unet` for pixels, to know how many channels to draw"
        )
    if unet is not None:
        expect_trained_type(unet, schedule.table.prediction_type)
    factor = vae.factor if vae else 1
    channels = vae.channels if vae else unet.config.in_channels  # type: ignore[union-attr]
    native = unet.config.sample_size * factor if unet and unet.config.sample_size else None
    sides = (_latents("height", height, native, factor), _latents("width", width, native, factor))
    return _drawn(schedule, (channels, *sides), device, seed, count)


@node
def noise_like(
    schedule: Schedule,
    latents: Latents,
    seed: Annotated[int, Field(ge=0, description="the same seed gives the same picture")] = 0,
    count: Annotated[int, Field(ge=1, description="pictures; number k has seed + k")] = 1,
    vae: Annotated[
        Autoencoder | None, Field(description="whose channels to draw; null = those of `latents`")
    ] = None,
    after: Annotated[
        Noise | None,
        Field(description="of the same seeds, so that this one is another; null = the first"),
    ] = None,
) -> Noise:
    """Draw the noise of a run that begins with a picture, in the size of its latents.

    Raises ValueError where the noise that it is to be drawn after has other seeds.
    """
    shape = (vae.channels if vae else latents.shape[1], *latents.shape[2:])
    earlier = None if after is None else after.fresh
    return _drawn(schedule, shape, latents.device, seed, count, earlier)


def _drawn(
    schedule: Schedule,
    shape: tuple[int, ...],
    device: torch.device,
    seed: int,
    count: int,
    after: FreshNoise | None = None,
) -> Noise:
    seeds = tuple(range(seed, seed + count))
    if after is not None and after.seeds != seeds:
        raise ValueError(f"`after` has the seeds {list(after.seeds)}, this noise {list(seeds)}")
    noisy, first = schedule.table.noisy, schedule.first
    own, earlier = noisy[first : first + len(schedule)], sum(noisy[:first])
    fresh = FreshNoise(seeds, shape, own, device, earlier, after)
    return Noise(fresh.initial(), fresh)


def _latents(name: str, size: int | Literal["auto"], native: int | None, factor: int) -> int:
    pixels = native if size == "auto" else size
    if pixels is None:
        raise ValueError(f"{name} is auto, but no `unet` says what size it was trained at")
    if pixels % factor:
        near = max(1, round(pixels / factor)) * factor
        raise ValueError(
            f"{name} must be a multiple of {factor} for this autoencoder, found {pixels}; "
            f"the nearest is {near}"
        )
    return pixels // factor
