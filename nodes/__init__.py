"""What can stand in a graph: one small file per thing that happens. Importing it registers all."""

from . import control, denoise, image, load, noise, preview, prompt, region, schedule, text

__all__ = [
    "control",
    "denoise",
    "image",
    "load",
    "noise",
    "preview",
    "prompt",
    "region",
    "safety",
    "schedule",
    "text",
]
