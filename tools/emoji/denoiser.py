"""Trains the text encoder and the UNet together, on the latents of a trained autoencoder."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.clip import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from nodes.models import AutoencoderKL, UNet2DConditionModel

from .autoencoder import training_pictures
from .captions import LENGTH, variants
from .pictures import SCENES, is_held_out
from .trainer import Recipe, fit, noise_levels

BATCH = 32
WITHOUT_TEXT = 0.1  # how often the text is left out, so that guidance has something to push from
WIDTH = 128

CONFIG: dict[str, Any] = {
    "_class_name": "UNet2DConditionModel",
    "act_fn": "silu",
    "attention_head_dim": 4,
    "block_out_channels": [48, 96, 96],
    "center_input_sample": False,
    "cross_attention_dim": WIDTH,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 4,
    "layers_per_block": 1,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-05,
    "norm_num_groups": 16,
    "out_channels": 4,
    "sample_size": 16,
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
}

SCHEDULER: dict[str, Any] = {
    "_class_name": "DDIMScheduler",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
    "set_alpha_to_one": False,
    "skip_prk_steps": True,  # for those who swap PNDM in
    "steps_offset": 1,
    "timestep_spacing": "trailing",
}


def text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Make CLIP's text model in a small size."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            projection_dim=WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=LENGTH,
            bos_token_id=len(tokenizer) - 2,
            eos_token_id=len(tokenizer) - 1,
            pad_token_id=len(tokenizer) - 1,
        )
    )


@torch.no_grad()
def encode_pictures(autoencoder: AutoencoderKL) -> Tensor:
    """Give the mean latents of every training picture: (N, 4, 16, 16)."""
    parts = training_pictures().split(64)
    return torch.cat([autoencoder.encode(part.float() / 127.5 - 1).mean for part in parts])


class Denoiser(nn.Module):
    """What is trained together."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.text_encoder = text_encoder(tokenizer)
        self.unet = UNet2DConditionModel.from_config(CONFIG)


def train_denoiser(
    latents: Tensor, tokenizer_folder: Path, folder: Path, steps: int, minutes: float
) -> None:
    """Train on latents (N, 4, 16, 16), already scaled to unit variance, and their captions."""
    torch.manual_seed(2)
    tokenizer = CLIPTokenizer.from_pretrained(tokenizer_folder)
    scenes = [scene for scene in SCENES if not is_held_out(scene)]
    texts = [variants(scene) for scene in scenes]
    counts = torch.tensor([len(forms) for forms in texts])
    firsts = counts.cumsum(0) - counts
    flat = [text for forms in texts for text in forms]
    tokens = tokenizer(flat, padding="max_length", truncation=True, max_length=LENGTH)
    ids = torch.tensor(tokens["input_ids"])  # every form of every scene, LENGTH
    nothing = torch.tensor(tokenizer("", padding="max_length", max_length=LENGTH)["input_ids"])
    alphas, sigmas = noise_levels(SCHEDULER)
    model = Denoiser(tokenizer)

    def loss() -> Tensor:
        chosen = torch.randint(len(latents), (BATCH,))
        form = firsts[chosen] + (torch.rand(BATCH) * counts[chosen]).long()
        silent = torch.rand(BATCH, 1) < WITHOUT_TEXT
        text = model.text_encoder(torch.where(silent, nothing, ids[form])).last_hidden_state
        timestep = torch.randint(len(alphas), (BATCH,))
        alpha, sigma = (part[timestep][:, None, None, None] for part in (alphas, sigmas))
        clean, noise = latents[chosen], torch.randn(BATCH, *latents.shape[1:])
        predicted = model.unet(alpha * clean + sigma * noise, timestep, text).float()
        return (predicted - (alpha * noise - sigma * clean)).square().mean()

    fit(model, loss, Recipe(steps), folder / "denoiser.pt", minutes)
