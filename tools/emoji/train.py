"""Trains and writes `emoji-64` and `emoji-32`, stage by stage; each goes on where it was stopped.

python -m tools.emoji.train autoencoder
python -m tools.emoji.train sharpen
python -m tools.emoji.train denoiser
python -m tools.emoji.train pixels
python -m tools.emoji.train export graphs/checkpoints
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn
from transformers.models.clip import CLIPTokenizer

from nodes.models import AutoencoderKL, UNet2DModel

from . import autoencoder, denoiser, pixels
from .captions import train_tokenizer

STEPS = {"autoencoder": 2000, "sharpen": 1300, "denoiser": 4000, "pixels": 800}


def main() -> None:
    """Run one stage."""
    parser = argparse.ArgumentParser(description="Train emoji-64 and emoji-32.")
    parser.add_argument("stage", choices=[*STEPS, "export"])
    parser.add_argument("out", nargs="?", type=Path, default=Path("training"))
    parser.add_argument(
        "--folder", type=Path, default=Path("training"), help="where states are kept"
    )
    parser.add_argument("--steps", type=int, help="instead of the recipe's")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.stage == "export":
        export(given.folder, given.out / "emoji-64")
        export_pixels(given.folder, given.out / "emoji-32")
        return
    run_stage(given.stage, given.folder, given.steps or STEPS[given.stage], given.minutes)


def run_stage(stage: str, folder: Path, steps: int, minutes: float) -> None:
    """Train one stage for so many steps."""
    if stage in autoencoder.KL_WEIGHT:
        new = AutoencoderKL.from_config(autoencoder.CONFIG)
        model = new if stage == "autoencoder" else _autoencoder(folder, "autoencoder").train()
        weight = autoencoder.KL_WEIGHT[stage]
        autoencoder.train_autoencoder(model, weight, steps, folder / f"{stage}.pt", minutes)
    elif stage == "pixels":
        pixels.train_pixels(folder, steps, minutes)
    else:
        latents = denoiser.encode_pictures(_autoencoder(folder, "sharpen"))
        train_tokenizer(folder / "tokenizer")
        denoiser.train_denoiser(
            latents / latents.std(), folder / "tokenizer", folder, steps, minutes
        )


def export(folder: Path, out: Path) -> None:
    """Write the averaged weights in half precision, as a folder in Stable Diffusion's format."""
    vae = _autoencoder(folder, "sharpen")
    scale = 1 / denoiser.encode_pictures(vae).std().item()
    train_tokenizer(out / "tokenizer")
    parts = denoiser.Denoiser(CLIPTokenizer.from_pretrained(out / "tokenizer"))
    parts.load_state_dict(_average(folder, "denoiser"))
    _write_component(out / "vae", vae, autoencoder.CONFIG | {"scaling_factor": round(scale, 5)})
    _write_component(out / "unet", parts.unet, denoiser.CONFIG)
    parts.text_encoder.config.save_pretrained(out / "text_encoder")
    # Published checkpoints have this level in their names, whatever transformers calls its modules.
    _write_weights(out / "text_encoder" / "model.safetensors", parts.text_encoder, "text_model.")
    _write_json(out / "scheduler" / "scheduler_config.json", denoiser.SCHEDULER)
    _write_json(
        out / "model_index.json",
        {
            "_class_name": "StableDiffusionPipeline",
            "feature_extractor": [None, None],
            "requires_safety_checker": False,
            "safety_checker": [None, None],
            "scheduler": ["diffusers", denoiser.SCHEDULER["_class_name"]],
            "text_encoder": ["transformers", "CLIPTextModel"],
            "tokenizer": ["transformers", "CLIPTokenizer"],
            "unet": ["diffusers", denoiser.CONFIG["_class_name"]],
            "vae": ["diffusers", autoencoder.CONFIG["_class_name"]],
        },
    )


def export_pixels(folder: Path, out: Path) -> None:
    """Write the unconditional model in half precision, as a flat folder in DDPM's format."""
    network = UNet2DModel.from_config(pixels.CONFIG)
    network.load_state_dict(_average(folder, "pixels"))
    _write_component(out, network, pixels.CONFIG)
    _write_json(out / "scheduler_config.json", pixels.SCHEDULER)
    _write_json(
        out / "model_index.json",
        {
            "_class_name": "DDPMPipeline",
            "scheduler": ["diffusers", pixels.SCHEDULER["_class_name"]],
            "unet": ["diffusers", pixels.CONFIG["_class_name"]],
        },
    )


def _average(folder: Path, stage: str) -> dict[str, torch.Tensor]:
    return torch.load(folder / f"{stage}.pt", weights_only=True)["average"]


def _autoencoder(folder: Path, stage: str) -> AutoencoderKL:
    model = AutoencoderKL.from_config(autoencoder.CONFIG)
    model.load_state_dict(_average(folder, stage))
    return model.eval()


def _write_component(folder: Path, network: nn.Module, config: dict[str, Any]) -> None:
    _write_json(folder / "config.json", config)
    _write_weights(folder / "diffusion_pytorch_model.safetensors", network)


def _write_weights(path: Path, network: nn.Module, prefix: str = "") -> None:
    weights = network.state_dict().items()
    tensors = {f"{prefix}{name}": tensor.half().contiguous() for name, tensor in weights}
    save_file(tensors, path, {"format": "pt"})


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n")


if __name__ == "__main__":
    main()
