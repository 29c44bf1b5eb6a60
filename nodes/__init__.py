"""What can stand in a graph: one small file per thing that happens. Importing it registers all."""

from . import (
    control,
    denoise,
    image,
    latents,
    load,
    lora,
    mask,
    noise,
    preview,
    prompt,
    region,
    safety,
    schedule,
    text,
    textual_inversion,
    tiles,
)

__all__ = [
    "control",
    "denoise",
    "image",
    "latents",
    "load",
    "lora",
    "mask",
    "noise",
    "preview",
    "prompt",
    "region",
    "safety",
    "schedule",
    "text",
    "textual_inversion",
    "tiles",
]
