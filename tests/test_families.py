"""Every published shape of the UNet families against the development oracle.

At full width the names and shapes of the weights, on the meta device; reduced, what one call gives
and its gradients, with identical random weights in float32.
"""

import diffusers
import pytest
import torch
from torch import nn

from nodes.models import (
    Conditions,
    ControlNetModel,
    Residuals,
    T2IAdapter,
    UNet2DConditionModel,
)
from tests.published_configs import ADAPTERS, CONTROLNETS, UNETS, reduced

KINDS = {
    diffusers.UNet2DConditionModel: (UNet2DConditionModel, UNETS),
    diffusers.ControlNetModel: (ControlNetModel, CONTROLNETS),
    diffusers.T2IAdapter: (T2IAdapter, ADAPTERS),
}
FULL = [
    pytest.param(theirs, ours, config, id=name)
    for theirs, (ours, configs) in KINDS.items()
    for name, config in configs.items()
]


def shapes(network: nn.Module) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in network.state_dict().items()}


@pytest.mark.slow
@pytest.mark.parametrize(("theirs", "ours", "config"), FULL)
def test_the_weights_have_the_oracles_names_and_shapes(theirs, ours, config):
    with torch.device("meta"):
        expected, found = theirs(**config), ours.from_config(config)
    assert shapes(found) == shapes(expected)
    assert not list(found.buffers())


def twins(theirs: type, ours: type, config: dict) -> tuple[nn.Module, nn.Module]:
    """The oracle's network and ours, with the oracle's random weights and no layer left at zero."""
    torch.manual_seed(0)
    expected = theirs(**config)
    with torch.no_grad():
        for parameter in expected.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    found = ours.from_config(config)
    found.load_state_dict(expected.state_dict())
    return expected, found


def conditions_for(config: dict) -> tuple[Conditions, dict]:
    """What a network of this config is told, as we take it and as the oracle takes it."""
    label = guidance = pooled = size = None
    if "num_class_embeds" in config:
        label = torch.tensor([20, 350])
    if config.get("class_embed_type") == "projection":
        label = torch.randn(2, 40)
    if "time_cond_proj_dim" in config:
        guidance = torch.randn(2, 16)
    if "addition_time_embed_dim" in config:
        numbers = (config["projection_class_embeddings_input_dim"] - 12) // 8
        pooled, size = torch.randn(2, 12), torch.randint(0, 1024, (2, numbers))
    theirs = {"class_labels": label, "timestep_cond": guidance}
    if pooled is not None:
        theirs["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": size}
    return Conditions(label, pooled, size, guidance), theirs


# Others differ from one of those beside them in numbers of channels and layers alone.
LIKE_ANOTHER = {
    "stable diffusion 1 inpainting", "instruct pix2pix", "stable diffusion 2 depth",
    "sdxl inpainting", "segmind vega",
}  # fmt: skip


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(config, id=name, marks=[pytest.mark.slow] if name in LIKE_ANOTHER else [])
        for name, config in UNETS.items()
    ],
)
def test_a_unet_predicts_what_the_oracle_does_and_so_do_its_gradients(config, relative):
    config = reduced(config)
    theirs, ours = twins(diffusers.UNet2DConditionModel, UNet2DConditionModel, config)
    sample = torch.randn(2, config["in_channels"], 16, 24)
    text = torch.randn(2, 7, config.get("encoder_hid_dim", 24))
    told, their_told = conditions_for(config)
    timestep = torch.tensor([3, 741])
    results = []
    for network, call in (
        (theirs, lambda x: theirs(x, timestep, text, **their_told).sample),
        (ours, lambda x: ours(x, timestep, text, told)),
    ):
        x = sample.clone().requires_grad_()
        result = call(x)
        result.square().sum().backward()
        gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
        results.append((result.detach(), x.grad, gradients))
    (expected, their_gradient, their_gradients), (found, gradient, gradients) = results
    assert relative(found, expected) <= 1e-5
    assert relative(gradient, their_gradient) <= 1e-5
    assert gradients.keys() == their_gradients.keys()
    whole = [
        torch.cat([found[name].flatten() for name in their_gradients])
        for found in (gradients, their_gradients)
    ]
    assert relative(*whole) <= 1e-5


@pytest.mark.parametrize("config", CONTROLNETS.values(), ids=CONTROLNETS.keys())
def test_a_controlnet_adds_what_the_oracle_does(config, relative):
    config = reduced(config)
    theirs, ours = twins(diffusers.ControlNetModel, ControlNetModel, config)
    sample, text, picture = (
        torch.randn(2, 4, 16, 24),
        torch.randn(2, 7, 24),
        torch.rand(2, 3, 128, 192),
    )
    told, their_told = conditions_for(config)
    timestep = torch.tensor(501)
    their_told.pop("timestep_cond")
    with torch.no_grad():
        skips, middle = theirs(sample, timestep, text, picture, return_dict=False, **their_told)
        found = ours(sample, timestep, text, picture, told)
    assert len(found.skips) == len(skips)
    for one, other in zip((*found.skips, found.middle), (*skips, middle), strict=True):
        assert relative(one, other) <= 1e-5


@pytest.mark.parametrize("family", ["stable diffusion 1", "sdxl"])
def test_a_unet_takes_what_controlnets_and_adapters_give(family, relative):
    config = reduced(UNETS[family])
    theirs, ours = twins(diffusers.UNet2DConditionModel, UNet2DConditionModel, config)
    sample, text = torch.randn(2, 4, 16, 16), torch.randn(2, 7, 24)
    told, their_told = conditions_for(config)
    with torch.no_grad():
        _, skips = ours.descend(
            ours.conv_in(sample), ours.embed_time(torch.tensor(1), sample), text
        )
        control = Residuals(
            tuple(torch.randn_like(skip) for skip in skips), torch.randn_like(skips[-1])
        )
        expected = theirs(
            sample, torch.tensor(7), text, **their_told,
            down_block_additional_residuals=control.skips, mid_block_additional_residual=control.middle,
        ).sample  # fmt: skip
        assert relative(ours(sample, torch.tensor(7), text, told, control), expected) <= 1e-5
        # Of each level: what its last residual block gives, or, without attention, its last skip.
        features, position = [], 0
        for level, block in enumerate(ours.down_blocks):
            position += config["layers_per_block"]
            plain = block.attentions is None and block.downsamplers is not None
            features.append(torch.randn_like(skips[position + plain]))
            position += block.downsamplers is not None
            assert level < len(config["block_out_channels"])
        expected = theirs(
            sample, torch.tensor(7), text, **their_told,
            down_intrablock_additional_residuals=[feature.clone() for feature in features],
        ).sample  # fmt: skip
        found = ours(sample, torch.tensor(7), text, told, adapter=tuple(features))
    assert relative(found, expected) <= 1e-5


@pytest.mark.parametrize("config", ADAPTERS.values(), ids=ADAPTERS.keys())
def test_an_adapter_gives_the_oracles_features(config, relative):
    config = config | {"channels": [16, 32, 64, 64][: len(config.get("channels", range(4)))]}
    theirs, ours = twins(diffusers.T2IAdapter, T2IAdapter, config)
    picture = torch.rand(1, 3, 160, 96)
    with torch.no_grad():
        for one, other in zip(ours(picture), theirs(picture), strict=True):
            assert relative(one, other) <= 1e-5


XL, SD = reduced(UNETS["sdxl"]), reduced(UNETS["stable diffusion 1"])
WRONG = {
    "no size": (XL, Conditions(pooled_text=torch.zeros(2, 12)), "this network is told a size: wire `size`"),
    "no pooled text": (XL, Conditions(), "this network is told a pooled text: wire `pooled_text`"),
    "a size": (SD, Conditions(size=torch.zeros(2, 6)), "this network is not told a size: leave out `size`"),
    "a class label": (
        SD, Conditions(class_label=torch.tensor([1, 2])),
        "this network is not told a class label: leave out `class_label`",
    ),
    "a guidance scale": (
        SD, Conditions(guidance=torch.zeros(2, 16)),
        "this network is not told the guidance scale: leave out `guidance_scale`",
    ),
    "no guidance scale": (
        SD | {"time_cond_proj_dim": 16}, Conditions(),
        "this network is told the guidance scale: wire `guidance_scale`",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("config", "told", "message"), WRONG.values(), ids=WRONG.keys())
def test_a_condition_too_few_or_too_many_is_told(config, told, message):
    network = UNet2DConditionModel.from_config(config)
    with pytest.raises(ValueError, match=message):
        network(torch.zeros(2, 4, 16, 16), torch.tensor(1), torch.zeros(2, 7, 24), told)


def test_an_order_of_channels_that_is_not_known_is_refused():
    config = reduced(CONTROLNETS["controlnet 1"]) | {"controlnet_conditioning_channel_order": "gbr"}
    message = (
        "'controlnet_conditioning_channel_order' is implemented for 'rgb', 'bgr' only, found 'gbr'"
    )
    with pytest.raises(ValueError, match=f"^{message}$"):
        ControlNetModel.from_config(config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"addition_embed_type": "text_image"}, "'addition_embed_type' is implemented for 'text_time', None only, found 'text_image'"),
        ({"class_embed_type": "identity"}, "'class_embed_type' is implemented for 'timestep', 'projection', None only, found 'identity'"),
        ({"encoder_hid_dim_type": "image_proj"}, "'encoder_hid_dim_type' is implemented for 'text_proj', None only, found 'image_proj'"),
        ({"mid_block_type": "UNetMidBlock2DSimpleCrossAttn"}, "'mid_block_type' is implemented for 'UNetMidBlock2DCrossAttn', 'UNetMidBlock2D', None only, found"),
        ({"addition_time_embed_dim": None, "projection_class_embeddings_input_dim": None}, "the field 'projection_class_embeddings_input_dim' is needed"),
    ],
    ids=str,
)  # fmt: skip
def test_a_value_that_is_not_implemented_is_refused_by_name(change, message):
    with pytest.raises(ValueError, match=message):
        UNet2DConditionModel.from_config(XL | change)
