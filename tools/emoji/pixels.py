"""Trains `emoji-32`: an unconditional model of animal faces, in pixels, as DDPM has it."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nodes.models import UNet2DModel

from .pictures import COLOURS, compose, to_tensor
from .trainer import Recipe, fit, noise_levels

SIZE, FACE = 32, 28
BATCH = 32
FACES = (
    "cat", "dog", "rabbit", "fox", "bear", "panda",
    "frog", "monkey", "pig", "tiger", "lion", "chick",
)  # fmt: skip

CONFIG: dict[str, Any] = {
    "_class_name": "UNet2DModel",
    "act_fn": "silu",
    "attention_head_dim": None,
    "block_out_channels": [32, 64, 128],
    "center_input_sample": False,
    "down_block_types": ["DownBlock2D", "DownBlock2D", "AttnDownBlock2D"],
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "in_channels": 3,
    "layers_per_block": 1,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-06,
    "norm_num_groups": 8,
    "out_channels": 3,
    "sample_size": SIZE,
    "time_embedding_type": "positional",
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D", "UpBlock2D"],
}

SCHEDULER: dict[str, Any] = {
    "_class_name": "DDPMScheduler",
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "beta_start": 0.0001,
    "clip_sample": True,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "variance_type": "fixed_small",
}


def faces() -> Tensor:
    """Draw every face on every background: (N, 3, 32, 32) in [-1, 1]."""
    edge = (SIZE - FACE) // 2
    place = (edge, edge, FACE)
    pictures = [compose(name, colour, SIZE, [place]) for name in FACES for colour in COLOURS]
    return to_tensor(pictures).float() / 127.5 - 1


def train_pixels(folder: Path, steps: int, minutes: float) -> None:
    """Train to predict the noise in a face."""
    torch.manual_seed(3)
    pictures = faces()
    alphas, sigmas = noise_levels(SCHEDULER)
    model = UNet2DModel.from_config(CONFIG)

    def loss() -> Tensor:
        clean = pictures[torch.randint(len(pictures), (BATCH,))]
        noise = torch.randn_like(clean)
        timestep = torch.randint(len(alphas), (BATCH,))
        alpha, sigma = (part[timestep][:, None, None, None] for part in (alphas, sigmas))
        sample = alpha * clean + sigma * noise
        return (model(sample, timestep).float() - noise).square().mean()

    fit(model, loss, Recipe(steps), folder / "pixels.pt", minutes)
