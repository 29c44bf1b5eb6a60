"""The unconditional UNets of published checkpoints against the development oracle."""

import math

import diffusers
import pytest
import torch

from nodes.denoise import class_label, unet
from nodes.models import UNet2DModel
from nodes.weights.load import current_name

ADM = {
    "sample_size": 64, "layers_per_block": 3, "num_class_embeds": 1000, "attention_head_dim": 64,
    "block_out_channels": [192, 384, 576, 768],
    "down_block_types": ["ResnetDownsampleBlock2D", *["AttnDownBlock2D"] * 3],
    "up_block_types": [*["AttnUpBlock2D"] * 3, "ResnetUpsampleBlock2D"],
    "resnet_time_scale_shift": "scale_shift", "attn_norm_num_groups": 32,
    "downsample_type": "resnet", "upsample_type": "resnet",
}  # fmt: skip
NCSN = {
    "sample_size": 256, "layers_per_block": 2, "attention_head_dim": None,
    "block_out_channels": [128, 128, 256, 256, 256, 256, 256],
    "down_block_types": [*["SkipDownBlock2D"] * 4, "AttnSkipDownBlock2D", *["SkipDownBlock2D"] * 2],
    "up_block_types": [*["SkipUpBlock2D"] * 2, "AttnSkipUpBlock2D", *["SkipUpBlock2D"] * 4],
    "time_embedding_type": "fourier", "norm_num_groups": None, "norm_eps": 1e-6,
    "mid_block_scale_factor": math.sqrt(2),
}  # fmt: skip
CAT = {
    "sample_size": 256, "attention_head_dim": None, "downsample_padding": 0, "flip_sin_to_cos": False,
    "freq_shift": 1, "norm_eps": 1e-6, "block_out_channels": [128, 128, 256, 256, 512, 512],
    "down_block_types": [*["DownBlock2D"] * 4, "AttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "AttnUpBlock2D", *["UpBlock2D"] * 4],
}  # fmt: skip
PUBLISHED = {
    "google/ddpm-cat-256": CAT,
    "google/ddpm-cifar10-32": CAT | {
        "sample_size": 32, "block_out_channels": [128, 256, 256, 256],
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D", *["DownBlock2D"] * 2],
        "up_block_types": [*["UpBlock2D"] * 2, "AttnUpBlock2D", "UpBlock2D"],
    },
    "openai/diffusers-cd_imagenet64": ADM,
    "openai/diffusers-cd_bedroom256": ADM | {
        "sample_size": 256, "layers_per_block": 2, "num_class_embeds": None,
        "block_out_channels": [256, 256, 512, 512, 1024, 1024], "resnet_time_scale_shift": "default",
        "down_block_types": [*["ResnetDownsampleBlock2D"] * 3, *["AttnDownBlock2D"] * 3],
        "up_block_types": [*["AttnUpBlock2D"] * 3, *["ResnetUpsampleBlock2D"] * 3],
    },
    "google/ncsnpp-celebahq-256": NCSN,
}  # fmt: skip
SMALL_ADM = ADM | {
    "block_out_channels": [32, 32, 64, 64], "layers_per_block": 1, "attention_head_dim": 16,
    "num_class_embeds": 10,
}  # fmt: skip
SMALL_NCSN = NCSN | {
    "block_out_channels": [32, 64, 64], "layers_per_block": 1,
    "down_block_types": ["SkipDownBlock2D", "AttnSkipDownBlock2D", "SkipDownBlock2D"],
    "up_block_types": ["SkipUpBlock2D", "AttnSkipUpBlock2D", "SkipUpBlock2D"],
}  # fmt: skip
DDPM = {
    "block_out_channels": [32, 64], "layers_per_block": 1, "sample_size": 16,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
}  # fmt: skip
REDUCED = {
    "ddpm": CAT | {
        "block_out_channels": [32, 64, 64], "layers_per_block": 1,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
    },
    "adm": SMALL_ADM,
    "adm, the time added only": SMALL_ADM | {"resnet_time_scale_shift": "default"},
    "ncsn++": SMALL_NCSN,
    "ncsn++, simplified": SMALL_NCSN | {
        "time_embedding_type": "positional", "norm_num_groups": 32, "center_input_sample": True,
        "attention_head_dim": 8,
    },
    "a time as class": DDPM | {"class_embed_type": "timestep"},
    "a vector as class": DDPM | {"class_embed_type": "identity"},
    "no middle": DDPM | {"mid_block_type": None},
}  # fmt: skip
LABELS = {
    "a time as class": torch.tensor([4.0, 700.0]), "a vector as class": torch.linspace(-1, 1, 256).reshape(2, 128),
}  # fmt: skip


@pytest.mark.parametrize("config", PUBLISHED.values(), ids=PUBLISHED.keys())
def test_the_weights_have_the_oracles_names_and_shapes(config):
    with torch.device("meta"):
        theirs, ours = diffusers.UNet2DModel(**config), UNet2DModel.from_config(config)
    expected, found = (
        {key: value.shape for key, value in network.state_dict().items()}
        for network in (theirs, ours)
    )
    assert found == expected
    assert not list(ours.buffers())


@pytest.mark.parametrize("name", REDUCED)
def test_predictions_and_gradients_are_the_oracles(name, relative):
    torch.manual_seed(0)
    config = REDUCED[name]
    theirs = diffusers.UNet2DModel(**config)
    ours = UNet2DModel.from_config(config)
    ours.load_state_dict(theirs.state_dict())
    label = LABELS.get(name, torch.tensor([1, 7]) if "num_class_embeds" in config else None)
    label = None if name.startswith("ncsn") else label
    sample, timestep = torch.randn(2, 3, 16, 24), torch.tensor([0.7, 40.0])
    results = []
    for network in (theirs, ours):
        x = sample.clone().requires_grad_()
        result = network(x, timestep, label)
        result = result if isinstance(result, torch.Tensor) else result.sample
        result.square().sum().backward()
        weights = [
            p.grad.flatten() for _, p in sorted(network.named_parameters()) if p.grad is not None
        ]
        results.append((result.detach(), x.grad, torch.cat(weights)))
    for expected, found in zip(*results, strict=True):
        assert relative(found, expected) <= 1e-5


@pytest.mark.parametrize("config", [SMALL_ADM, SMALL_NCSN], ids=["adm", "ncsn++"])
def test_sides_need_not_be_multiples(config):
    network = UNet2DModel.from_config(config).requires_grad_(False)
    label = class_label(3) if config is SMALL_ADM else None
    assert unet(network, torch.randn(2, 3, 15, 22), torch.tensor(3.0), class_label=label).shape == (
        2,
        3,
        15,
        22,
    )


WRONG = {
    "a label too few": (SMALL_ADM, None, "this network is told a class label: wire `class_label`"),
    "a label too many": (DDPM, torch.tensor([1]), "this network is not told a class label: leave out `class_label`"),
    "another resampling": (DDPM | {"upsample_type": "fir"}, None, "'upsample_type' is implemented for 'conv', 'resnet' only, found 'fir'"),
    "learned times": (DDPM | {"time_embedding_type": "learned"}, None, "'time_embedding_type' is implemented for 'positional', 'fourier' only"),
    "no groups": (SMALL_ADM | {"attn_norm_num_groups": None}, None, "so the field 'attn_norm_num_groups' is needed"),
    "mixed": (
        DDPM | {"down_block_types": ["SkipDownBlock2D", "AttnDownBlock2D"]}, None,
        "block types with Skip go together with others of their kind only",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("config", "label", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_does_not_fit_is_told_in_words(config, label, message):
    with pytest.raises(ValueError, match=message):
        UNet2DModel.from_config(config)(torch.zeros(1, 3, 16, 16), torch.tensor(1), label)


def test_the_frequencies_old_files_hold_twice_are_read():
    expected = UNet2DModel.from_config(SMALL_NCSN).state_dict()
    assert current_name("time_proj.W", expected) == "time_proj.weight"
