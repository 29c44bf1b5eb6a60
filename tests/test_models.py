"""Each network against the development oracle: identical random weights, one call, float32."""

import json
from pathlib import Path

import diffusers
import pytest
import torch
from torch import nn

from nodes.models import AutoencoderKL, UNet2DConditionModel, UNet2DModel

SMALL_UNET = {
    "sample_size": 16,
    "block_out_channels": (32, 64, 64),
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "norm_num_groups": 8,
    "cross_attention_dim": 48,
    "attention_head_dim": 4,
}
CAT = {
    "sample_size": 32,
    "block_out_channels": (32, 32, 64, 64),
    "down_block_types": ("DownBlock2D", "DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
    "attention_head_dim": None,
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "norm_eps": 1e-6,
    "norm_num_groups": 8,
}
UNETS = {
    "stable diffusion 1": SMALL_UNET,
    "stable diffusion 2": SMALL_UNET
    | {"attention_head_dim": (2, 4, 4), "use_linear_projection": True, "upcast_attention": True},
    "inpainting": SMALL_UNET | {"in_channels": 9},
    "one layer": SMALL_UNET | {"layers_per_block": 1},
}


def twins(ours: type, theirs: nn.Module) -> nn.Module:
    """Build our network from the oracle's config as JSON has it, with the oracle's weights."""
    config = json.loads(json.dumps(dict(theirs.config)))
    network = ours.from_config(config)
    network.load_state_dict(theirs.state_dict())
    return network


@pytest.mark.parametrize("config", UNETS.values(), ids=UNETS.keys())
@pytest.mark.parametrize("size", [(16, 16), (15, 13)], ids=str)
def test_conditional_unet(config, size, relative):
    torch.manual_seed(0)
    theirs = diffusers.UNet2DConditionModel(**config)
    ours = twins(UNet2DConditionModel, theirs)
    sample, text = torch.randn(2, theirs.config.in_channels, *size), torch.randn(2, 7, 48)
    with torch.no_grad():
        for timestep in (torch.tensor(981), torch.tensor([3, 741]), torch.tensor(12.5)):
            expected = theirs(sample, timestep, text).sample
            assert relative(ours(sample, timestep, text), expected) <= 1e-5


@pytest.mark.parametrize("heads", [None, 8], ids=["one head", "heads of 8"])
def test_unconditional_unet(heads, relative):
    torch.manual_seed(0)
    theirs = diffusers.UNet2DModel(**CAT | {"attention_head_dim": heads})
    ours = twins(UNet2DModel, theirs)
    sample = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        for timestep in (torch.tensor(999), torch.tensor([0, 500])):
            assert relative(ours(sample, timestep), theirs(sample, timestep).sample) <= 1e-5


def test_autoencoder(relative):
    torch.manual_seed(0)
    theirs = diffusers.AutoencoderKL(
        block_out_channels=(16, 32, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=2,
        norm_num_groups=8,
        sample_size=64,
    )
    ours = twins(AutoencoderKL, theirs)
    assert ours.factor == 4
    picture, latents = torch.randn(2, 3, 64, 48), torch.randn(2, 4, 16, 12)
    with torch.no_grad():
        expected = theirs.encode(picture).latent_dist
        found = ours.encode(picture)
        assert relative(found.mean, expected.mean) <= 1e-5
        assert relative(found.log_variance, expected.logvar) <= 1e-5
        assert relative(ours.decode(latents), theirs.decode(latents).sample) <= 1e-5


PUBLISHED = {  # parameters and keys of published checkpoints, by their decisive configs
    "stable diffusion 1.5": (
        UNet2DConditionModel,
        {"block_out_channels": [320, 640, 1280, 1280], "cross_attention_dim": 768, "sample_size": 64,
         "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
         "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3, "attention_head_dim": 8},
        686, 859_520_964,
    ),
    "stable diffusion 2.1": (
        UNet2DConditionModel,
        {"block_out_channels": [320, 640, 1280, 1280], "cross_attention_dim": 1024, "sample_size": 96,
         "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
         "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
         "attention_head_dim": [5, 10, 20, 20], "use_linear_projection": True},
        686, 865_910_724,
    ),
    "google/ddpm-cat-256": (
        UNet2DModel,
        {"block_out_channels": [128, 128, 256, 256, 512, 512], "sample_size": 256,
         "down_block_types": ["DownBlock2D"] * 4 + ["AttnDownBlock2D", "DownBlock2D"],
         "up_block_types": ["UpBlock2D", "AttnUpBlock2D"] + ["UpBlock2D"] * 4,
         "attention_head_dim": None, "downsample_padding": 0, "norm_eps": 1e-6},
        450, 113_673_219,
    ),
    "autoencoder of stable diffusion": (
        AutoencoderKL,
        {"block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "sample_size": 512,
         "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4},
        248, 83_653_863,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_on_the_meta_device(name):
    kind, config, keys, parameters = PUBLISHED[name]
    with torch.device("meta"):
        network = kind.from_config(config)
    assert len(network.state_dict()) == keys
    assert sum(weight.numel() for weight in network.parameters()) == parameters
    assert all(weight.is_meta for weight in network.parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dual_cross_attention": True}, "'dual_cross_attention' is implemented for False only, found True"),
        ({"layers_per_blok": 2}, "unknown field 'layers_per_blok', did you mean 'layers_per_block'?"),
        ({"down_block_types": ["KDownBlock2D"] * 3}, "block type 'KDownBlock2D' is not implemented, "
         "only 'DownBlock2D' and 'CrossAttnDownBlock2D'"),
    ],
)  # fmt: skip
def test_what_is_not_implemented_is_refused_by_name(change, message):
    with pytest.raises(ValueError, match=r"implemented|unknown field") as error:
        UNet2DConditionModel.from_config(SMALL_UNET | change)
    assert message in str(error.value)


def test_a_null_stands_for_the_default():
    nulls = {"class_embed_type": None, "only_cross_attention": None, "use_linear_projection": None}
    UNet2DConditionModel.from_config(SMALL_UNET | nulls)


def test_the_names_of_the_oldest_files_are_understood():
    new = {
        "sample_size": 32, "layers_per_block": 1, "block_out_channels": [32, 64],
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
        "freq_shift": 1, "norm_num_groups": 16, "act_fn": "silu", "norm_eps": 1e-6, "attention_head_dim": 16,
    }  # fmt: skip
    old = {
        "image_size": 32, "num_res_blocks": 1, "block_channels": [32, 64],
        "down_blocks": ["UNetResDownBlock2D", "UNetResAttnDownBlock2D"],
        "up_blocks": ["UNetResAttnUpBlock2D", "UNetResUpBlock2D"],
        "downscale_freq_shift": 1, "resnet_num_groups": 16, "resnet_act_fn": "silu", "resnet_eps": 1e-6,
        "num_head_channels": 16,
    }  # fmt: skip
    assert UNet2DModel.from_config(old).config == UNet2DModel.from_config(new).config
    with pytest.raises(
        ValueError, match="'resnet_act_fn' is implemented for 'silu' only, found 'mish'"
    ):
        UNet2DModel.from_config(old | {"resnet_act_fn": "mish"})
    with pytest.raises(ValueError, match="unknown field 'image_size'"):
        UNet2DModel.from_config(old | {"sample_size": 64})


def test_what_training_left_behind_is_ignored():
    left = {
        "decay": 0.9999, "inv_gamma": 1.0, "min_decay": 0.0, "optimization_step": 37000, "power": 0.67,
        "update_after_step": 0, "use_ema_warmup": False,
    }  # fmt: skip
    network = UNet2DConditionModel.from_config(SMALL_UNET | left)
    assert network.config == UNet2DConditionModel.from_config(SMALL_UNET).config


def test_a_missing_field_is_named():
    config = {key: value for key, value in SMALL_UNET.items() if key != "block_out_channels"}
    with pytest.raises(ValueError, match="the field 'block_out_channels' is missing"):
        UNet2DConditionModel.from_config(config)


def test_every_width_is_in_the_oracles_folder(tiny_stable_diffusion: Path):
    config = json.loads((tiny_stable_diffusion / "unet" / "config.json").read_text())
    assert UNet2DConditionModel.from_config(config).config.block_out_channels == (32, 64, 64, 64)
