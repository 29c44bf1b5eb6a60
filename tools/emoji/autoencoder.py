"""Trains the autoencoder: first to latents near the normal distribution, then to sharp pictures."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nodes.models import AutoencoderKL

from .pictures import SCENES, draw, is_held_out, to_tensor
from .trainer import Recipe, fit

LEVELS = (16, 32, 64)
BATCH = 16
KL_WEIGHT = {"autoencoder": 2e-4, "sharpen": 1e-5}

CONFIG: dict[str, Any] = {
    "_class_name": "AutoencoderKL",
    "act_fn": "silu",
    "block_out_channels": list(LEVELS),
    "down_block_types": ["DownEncoderBlock2D"] * len(LEVELS),
    "force_upcast": False,
    "in_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "out_channels": 3,
    "sample_size": 64,
    "up_block_types": ["UpDecoderBlock2D"] * len(LEVELS),
}


def training_pictures() -> Tensor:
    """Draw every picture that is not held out: (N, 3, 64, 64), bytes."""
    return to_tensor(draw(scene) for scene in SCENES if not is_held_out(scene))


def _distance(ours: Tensor, theirs: Tensor) -> Tensor:
    difference = ours.float() - theirs
    return difference.abs().mean() + difference.square().mean()


def train_autoencoder(
    model: AutoencoderKL, kl_weight: float, steps: int, state_file: Path, minutes: float
) -> None:
    """Train both halves to give a picture back through a distribution near the normal one."""
    torch.manual_seed(0)
    pictures = training_pictures()

    def loss() -> Tensor:
        batch = pictures[torch.randint(len(pictures), (BATCH,))].float() / 127.5 - 1
        mean, log_variance = (part.float() for part in model.encode(batch))
        latents = mean + torch.exp(log_variance / 2) * torch.randn_like(mean)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        return _distance(model.decode(latents), batch) + kl_weight * divergence

    fit(model, loss, Recipe(steps), state_file, minutes)
