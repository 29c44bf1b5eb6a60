"""Stand-ins for the nodes of the canonical graph, and its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import Field

from graph import Ambient, Kind, Registry

T = TypeVar("T")


class Tensor:
    """A stand-in."""


class Model:
    """A stand-in."""


class Unet(Model):
    """A stand-in."""


class Vae(Model):
    """A stand-in."""


Tokens = Annotated[Tensor, Kind("tokens", "B N")]
Embedding = Annotated[Tensor, Kind("text embedding", "B N C")]
Latents = Annotated[Tensor, Kind("latents", "B C H W")]
Prediction = Annotated[Tensor, Kind("prediction", "B C H W")]
Image = Annotated[Tensor, Kind("image", "B C H W")]
Device = Annotated[str, Ambient("device")]
Steps = Annotated[int, Field(ge=1, le=1000, description="how many steps")]


@dataclass(frozen=True)
class Step:
    """One row of a schedule."""

    timestep: Tensor


@dataclass(frozen=True)
class Schedule:
    """Rows, one for every step."""

    rows: tuple[Step, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Step:
        return self.rows[index]


class State(NamedTuple):
    """What a loop carries."""

    sample: Latents
    memory: Tensor


class Noise(NamedTuple):
    """What a run draws."""

    initial: Latents
    fresh: Sequence[Latents]


def nodes() -> Registry:
    """Register stand-ins for the nodes of the canonical graph."""
    registry = Registry()
    node = registry.node

    @node
    def load_unet(model: str, device: Device) -> Unet:
        """Load."""
        return Unet()

    @node
    def load_vae(model: str, device: Device) -> Vae:
        """Load."""
        return Vae()

    @node
    def load_scheduler_config(model: str) -> dict[str, object]:
        """Load."""
        return {}

    @node
    def tokenize(model: str, prompt: str | list[str]) -> Tokens:
        """Tokenize."""
        return Tensor()

    @node
    def encode_text(model: str, tokens: Tokens) -> Embedding:
        """Encode."""
        return Tensor()

    @node
    def schedule(config: dict[str, object], steps: Steps, scheduler: str = "auto") -> Schedule:
        """Make a schedule."""
        return Schedule(())

    @node
    def noise(vae: Vae, schedule: Schedule, seed: int, width: int, height: int) -> Noise:
        """Draw."""
        return Noise(Tensor(), [])

    @node
    def start(schedule: Schedule, noise: Latents) -> State:
        """Start."""
        return State(noise, Tensor())

    @node(batched=True)
    def unet(model: Unet, sample: Latents, timestep: Tensor, text: Embedding) -> Prediction:
        """Predict."""
        return sample

    @node
    def guidance(cond: Prediction, uncond: Prediction, scale: float = 7.5) -> Prediction:
        """Guide."""
        return cond

    @node
    def scheduler_step(step: Step, state: State, prediction: Prediction, noise: Latents) -> State:
        """Step."""
        return state

    @node
    def vae_decode(vae: Vae, latents: Latents) -> Image:
        """Decode."""
        return latents

    @node(effect=True)
    def save_image(image: Image, path: Path) -> Path:
        """Save."""
        return path

    @node
    def mix(a: T, b: T, weight: float = 0.5) -> T:
        """Mix."""
        return a

    @node
    def sharpen(image: Image, how: Literal["unsharp", "high-pass"] = "unsharp") -> Image:
        """Sharpen."""
        return image

    @node
    def is_late(step: Step, after: int) -> bool:
        """Tell."""
        return True

    @node
    def numbers(count: int) -> list[float]:
        """Count."""
        return []

    @node
    def stack(images: list[Image], names: list[str] | None = None) -> Image:
        """Stack."""
        return images[0]

    @node
    def optional_mask(image: Image, mask: Image | None = None) -> Image:
        """Mask."""
        return image

    @node
    def anything(value: Any) -> Any:
        """Pass on."""
        return value

    return registry


ENCODE_PROMPT = """\
# Encode a prompt.
inputs:
  model:
  prompt:
nodes:
  tokens: {node: tokenize, model: $model, prompt: $prompt}
  encoded: {node: encode_text, model: $model, tokens: $tokens}
outputs:
  text: $encoded
"""

SD15 = """\
# Stable Diffusion 1.x, text to image.
#   run-graph sd15.yaml prompt="a lighthouse in a storm" steps=20 seed=7

inputs:                      # what a run may set: a default, or empty = must be given
  prompt:
  negative_prompt: ""
  steps: 25
  guidance_scale: 7.5
  scheduler: unipc
  seed: 0
  width: 512
  height: 512
  model: stable-diffusion-v1-5/stable-diffusion-v1-5
  output: sd15.png

nodes:
  unet:     {node: load_unet, model: $model}
  vae:      {node: load_vae, model: $model}
  config:   {node: load_scheduler_config, model: $model}

  text:     {graph: encode_prompt.yaml, model: $model, prompt: $prompt}
  no_text:  {graph: encode_prompt.yaml, model: $model, prompt: $negative_prompt}

  schedule: {node: schedule, config: $config, scheduler: $scheduler, steps: $steps}
  noise:    {node: noise, vae: $vae, schedule: $schedule, seed: $seed, width: $width, height: $height}
  start:    {node: start, schedule: $schedule, noise: $noise.initial}

  denoise:
    for:   {step: $schedule, fresh: $noise.fresh}  # once for every step of the schedule
    carry: {state: {from: $start, then: $next}}    # handed from one step to the next
    nodes:
      cond:   {node: unet, model: $unet, sample: $state.sample, timestep: $step.timestep, text: $text}
      uncond: {node: unet, model: $unet, sample: $state.sample, timestep: $step.timestep, text: $no_text}
      guided: {node: guidance, cond: $cond, uncond: $uncond, scale: $guidance_scale}
      next:   {node: scheduler_step, step: $step, state: $state, prediction: $guided, noise: $fresh}

  image:    {node: vae_decode, vae: $vae, latents: $denoise.state.sample}
  saved:    {node: save_image, image: $image, path: $output}

outputs:
  image: $image
"""
