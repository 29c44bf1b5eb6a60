"""Small random checkpoints, made by the development oracle, that many tests share."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

gc.disable()  # until all is imported, for what is imported stays
os.environ["HF_HUB_OFFLINE"] = "1"
# As many processes as cores run beside each other; sums of more threads differ in their last bits.
os.environ["OMP_NUM_THREADS"] = "1"
# Ray gives its workers a niceness of 15, and a busy machine then gives them next to nothing.
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112, the name is Ray's

if TYPE_CHECKING:  # the process that hands out the tests waits for no PyTorch
    from torch import Tensor, nn
    from transformers import CLIPTextConfig, CLIPTokenizer

ROOT = Path(__file__).parent.parent
EMOJI = ROOT / "graphs" / "checkpoints" / "emoji-64"


def pytest_collection_finish(session: pytest.Session) -> None:
    """Look for garbage in what the tests make, and less often than each 700 objects."""
    gc.freeze()
    gc.set_threshold(10_000)
    gc.enable()


@pytest.fixture(scope="session")
def relative() -> Callable[[Tensor, Tensor], float]:
    """Give the largest difference, relative to the largest value of the reference."""

    def measure(ours: Tensor, theirs: Tensor) -> float:
        assert ours.shape == theirs.shape
        difference = (
            (ours.double() - theirs.double()).abs().max() / theirs.double().abs().max()
        ).item()
        print(f"relative difference {difference:.2e}")
        return difference

    return measure


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """Give all weights by name, those in oneDNN's layout too, which `state_dict` leaves out."""
    from nodes.models.packed import Packed

    packed = {
        f"{name}.weight": it.weight
        for name, it in network.named_modules()
        if isinstance(it, Packed)
    }
    return {**network.state_dict(), **packed}


@pytest.fixture(scope="session")
def tiny_stable_diffusion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write random weights in Stable Diffusion 1.x's architecture, at a small width."""
    return write_stable_diffusion(
        tmp_path_factory.mktemp("tiny-sd"),
        unet={
            "block_out_channels": (32, 64, 64, 64),
            "norm_num_groups": 8,
            "attention_head_dim": 4,
        },
        vae={"block_out_channels": (16, 32, 32, 32), "norm_num_groups": 8},
        text={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
        },
    )


@pytest.fixture(scope="session")
def full_stable_diffusion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write random weights at the full width of Stable Diffusion 1.5, 4.3 GB."""
    return write_stable_diffusion(
        tmp_path_factory.mktemp("full-sd"),
        unet={"block_out_channels": (320, 640, 1280, 1280), "attention_head_dim": 8},
        vae={"block_out_channels": (128, 256, 512, 512)},
        text={
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
        },
    )


def write_stable_diffusion(
    folder: Path, unet: dict[str, Any], vae: dict[str, Any], text: dict[str, Any]
) -> Path:
    import torch
    from diffusers import (
        AutoencoderKL,
        PNDMScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(EMOJI / "tokenizer")
    pipeline = StableDiffusionPipeline(
        unet=UNet2DConditionModel(
            sample_size=16, cross_attention_dim=text["hidden_size"], layers_per_block=2, **unet
        ),
        vae=AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            sample_size=128,
            **vae,
        ),
        text_encoder=CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                max_position_embeddings=32,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
                **text,
            )
        ),
        tokenizer=tokenizer,
        scheduler=PNDMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            skip_prk_steps=True,
            set_alpha_to_one=False,
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_ddpm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write random weights in the architecture of google/ddpm-*, as the flat folder that these are."""
    import torch
    from diffusers import DDPMScheduler, UNet2DModel

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("tiny-ddpm")
    UNet2DModel(
        sample_size=32,
        block_out_channels=(32, 64, 64),
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=None,
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
        norm_eps=1e-6,
        norm_num_groups=8,
    ).save_pretrained(folder)
    DDPMScheduler(clip_sample=True, variance_type="fixed_small").save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_sdxl(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, str]:
    """Write random weights in the architecture of SDXL; gives the oracle's pipeline and the folder.

    As in the published checkpoints the second tokenizer pads with an exclamation mark.
    """
    import torch
    from diffusers import (
        AutoencoderKL,
        EulerDiscreteScheduler,
        StableDiffusionXLPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    from tests.published_configs import UNETS, reduced

    tokenizer = CLIPTokenizer.from_pretrained(EMOJI / "tokenizer")
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("tiny-sdxl")
    unet = reduced(UNETS["sdxl"]) | {"cross_attention_dim": 16 + 24, "sample_size": 16}
    pipeline = StableDiffusionXLPipeline(
        unet=UNet2DConditionModel(**unet),
        vae=AutoencoderKL(
            block_out_channels=(16, 16, 32, 32),
            norm_num_groups=8,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            sample_size=128,
            scaling_factor=0.13025,
        ),
        text_encoder=CLIPTextModel(sdxl_text_config(tokenizer, 16, "quick_gelu")).eval(),
        text_encoder_2=CLIPTextModelWithProjection(sdxl_text_config(tokenizer, 24, "gelu")).eval(),
        tokenizer=tokenizer,
        tokenizer_2=CLIPTokenizer.from_pretrained(EMOJI / "tokenizer", pad_token="!"),
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            steps_offset=1,
            timestep_spacing="leading",
        ),
    )
    pipeline.set_progress_bar_config(disable=True)
    pipeline.save_pretrained(folder)
    return pipeline, str(folder)


def sdxl_text_config(tokenizer: CLIPTokenizer, width: int, activation: str) -> CLIPTextConfig:
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=32,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=4,
        num_attention_heads=2,
        hidden_act=activation,
        projection_dim=12,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
