"""What the tests of the checker share: own nodes, checkpoints without weights, a few lines to begin with."""

import json
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image as Picture

from graph import Registry, bind, load_text, node_types
from nodes.kinds import Image, Latents, Mask, TextEmbedding
from nodes.lora import LoRA
from nodes.weights import Change
from runtime.check import Report, check_shapes
from tests.published_configs import ADAPTERS, CONTROLNETS, UNETS

EMOJI = Path(__file__).parent.parent / "graphs" / "checkpoints" / "emoji-64"
OWN = Registry()
OWN.types.own.update(node_types())

PARTS = """\
inputs: {count: 1}
nodes:
  unet: {node: load_unet, model: emoji-64}
  vae: {node: load_vae, model: emoji-64}
  config: {node: load_scheduler_config, model: emoji-64}
  tokenizer: {node: load_tokenizer, model: emoji-64}
  encoder: {node: load_text_encoder, model: emoji-64}
  tokens: {node: tokenize, tokenizer: $tokenizer, prompt: a fox}
  text: {node: encode_text, encoder: $encoder, tokens: $tokens}
  schedule: {node: schedule, config: $config, steps: 3}
  noise: {node: noise, vae: $vae, schedule: $schedule, seed: 0, width: 64, height: 64, count: $count}
  half: {node: halve, sample: $noise.initial}
"""


@OWN.node
def halve(sample: Latents) -> Latents:
    """Take every second row and column."""
    return sample[..., ::2, ::2]


@OWN.node
def add(a: Latents, b: Latents) -> Latents:
    """Add latents, without a word about their shapes."""
    return a + b


@OWN.node
def soften(sample: Latents) -> Latents:
    """Round to sixteen bits."""
    return sample.half()


@OWN.node
def on_cpu(sample: Latents) -> Latents:
    """Make latents where the sample is not, as who forgets a device does."""
    return torch.zeros(sample.shape)


@OWN.node
def flat(sample: Latents) -> Image:
    """Give a picture as others have it, without a batch."""
    return sample[0, :3]


@OWN.node
def many_channels(sample: Latents) -> Image:
    """Give a picture with more channels than files have."""
    return torch.cat((sample, sample[:, :1]), dim=1)


@OWN.node
def nothing(sample: Latents) -> Latents:
    """Forget to return."""
    sample * 2


@OWN.node
def one_by_one(sample: Latents) -> list[Latents]:
    """Give what can be walked over only once."""
    return (part for part in sample)


class Both(NamedTuple):
    """Two things."""

    sample: Latents
    text: TextEmbedding


@OWN.node
def swapped(sample: Latents, text: TextEmbedding) -> Both:
    """Give two things, each as the other."""
    return Both(text, sample)


@OWN.node
def flat_mask(sample: Latents) -> Mask:
    """Give a mask as others have it."""
    return sample[0, 0] > 0


@OWN.node
def convolve(sample: Latents) -> Latents:
    """Convolve with a kernel in float32."""
    return torch.conv2d(sample, torch.zeros(4, 4, 1, 1, device=sample.device))


@OWN.node
def mix_channels(sample: Latents) -> Latents:
    """Multiply the channels by a matrix in float32."""
    return torch.einsum("bchw,cd->bdhw", sample, torch.zeros(4, 4, device=sample.device))


@OWN.node
def picture(height: int, width: int, count: int = 1) -> Image:
    """Make grey pictures."""
    return torch.zeros(count, 3, height, width)


@OWN.node
def brighten(sample: Latents) -> Latents:
    """Look at numbers, which a check has not."""
    return sample * 2 if sample.mean().item() < 0 else sample


@OWN.node
def forget(sample: Latents) -> Latents:
    """Fail as Python does."""
    return {}["sample"]


@OWN.node
def sdxl_lora() -> LoRA:
    """Make a LoRA of SDXL that changes one layer."""
    pieces = {"lora_up": torch.empty(640, 4), "lora_down": torch.empty(4, 2048)}
    layer = "down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
    change = Change({name: piece.to("meta") for name, piece in pieces.items()}, 1.0)
    return LoRA("ink.safetensors", {"unet": {layer: change}})


def checked(text: str, **inputs: object) -> Report:
    graph = load_text(text, "g.yaml", OWN)
    return check_shapes(graph, bind(graph, inputs), torch.float32)


def _clip(width: int, kind: str = "CLIPTextModel") -> dict[str, object]:
    return {
        "architectures": [kind], "hidden_size": width, "intermediate_size": 4 * width,
        "num_hidden_layers": 2, "num_attention_heads": width // 64, "vocab_size": 49408,
        "max_position_embeddings": 77, "eos_token_id": 49407, "projection_dim": 1280,
    }  # fmt: skip


def _kl(channels: int, levels: int) -> dict[str, object]:
    return {
        "_class_name": "AutoencoderKL", "latent_channels": channels, "layers_per_block": 2,
        "block_out_channels": (128, 256, 512, 512)[:levels],
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
    }  # fmt: skip


def _unet(name: str) -> dict[str, object]:
    return {"_class_name": "UNet2DConditionModel", **UNETS[name]}


FAMILIES: dict[str, dict[str, object]] = {
    "sd1": {
        "unet": _unet("stable diffusion 1"), "vae": _kl(4, 4), "text_encoder": _clip(768),
        "scheduler": {"_class_name": "PNDMScheduler", "skip_prk_steps": True, "steps_offset": 1},
        "controlnet": CONTROLNETS["controlnet 1"], "adapter": ADAPTERS["full"],
        "inpainting": _unet("stable diffusion 1 inpainting"), "lcm": _unet("latent consistency"),
    },
    "sd2": {
        "unet": _unet("stable diffusion 2 v"), "text_encoder": _clip(1024),
        "scheduler": {"_class_name": "DDIMScheduler", "prediction_type": "v_prediction"},
        "controlnet": CONTROLNETS["controlnet 2"], "upscaler": _unet("x4 upscaler"),
    },
    "sdxl": {
        "unet": _unet("sdxl"), "vae": _kl(4, 4), "text_encoder": _clip(768),
        "text_encoder_2": _clip(1280, "CLIPTextModelWithProjection"),
        "scheduler": {"_class_name": "EulerDiscreteScheduler"},
        "controlnet": CONTROLNETS["controlnet sdxl small"], "adapter": ADAPTERS["sdxl"],
    },
    "flow": {
        "vae": _kl(16, 4), "scheduler": {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0},
    },
    "edm": {"vae": _kl(4, 3), "scheduler": {"_class_name": "EDMEulerScheduler"}},
}  # fmt: skip


def write_families(folder: Path) -> None:
    """Write checkpoints that have configs and no weights, for a check needs no more."""
    for family, parts in FAMILIES.items():
        for part, config in parts.items():
            (folder / family / part).mkdir(parents=True)
            name = "scheduler_config.json" if part == "scheduler" else "config.json"
            (folder / family / part / name).write_text(json.dumps(config))
        for name in ("tokenizer", "tokenizer_2"):
            (folder / family / name).symlink_to(EMOJI / "tokenizer")
    Picture.new("RGB", (64, 64)).save(folder / "picture.png")
