"""What can stand in a graph: one small file per thing that happens. Importing it registers all."""

from . import denoise, image, load, noise, schedule, text

__all__ = ["denoise", "image", "load", "noise", "schedule", "text"]
