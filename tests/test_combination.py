"""Any features go together in one graph: it checks, it runs, and each does what it does alone."""

from dataclasses import replace
from random import Random
from shutil import copytree

import pytest
import torch
from PIL import Image as Picture
from safetensors.torch import save_file

import nodes
from graph import load_text
from nodes.image import load_image
from nodes.load import load_unet
from nodes.models import text_attentions
from nodes.schedulers import SCHEDULERS
from runtime import Session
from runtime.check import check_shapes
from tests.compose import GUIDANCES, NEVER_NEUTRAL, Parts, compose

assert nodes.__all__  # importing registers the node types
SEEN = 12  # how wide the image encoder sees
CPU = torch.device("cpu")
OTHER_LEVELS = ("ipndm", "edm", "flow", "ddim_inverse")  # these are for other networks
SAMPLERS = [
    it for it in SCHEDULERS
    if it.islower()
    and not it.startswith(OTHER_LEVELS)
    and not it.endswith(("_karras", "_exponential", "_beta", "_gpu"))
]  # fmt: skip
TWO_LEVELS = {
    "block_out_channels": [16, 32],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 1,
    "transformer_layers_per_block": 1,
    "attention_head_dim": 2,
}
FALLING = ("ddim", "ddpm", "euler", "euler_a", "lcm", "lms", "unipc")  # at every call, for CFG++
QUIET = tuple(it for it in GUIDANCES if it not in NEVER_NEUTRAL)
MANY = 2 * len(SAMPLERS)


@pytest.fixture(scope="module")
def files(tiny_stable_diffusion, tiny_sdxl, tmp_path_factory) -> dict[str, str]:
    """Write checkpoints of two levels, what changes and guides them, a picture and masks."""
    from diffusers import ControlNetModel, UNet2DConditionModel

    folder = tmp_path_factory.mktemp("parts")
    found = {"sd1": str(tiny_stable_diffusion), "sdxl": tiny_sdxl[1]}
    torch.manual_seed(0)
    for family, model in list(found.items()):
        found[family] = str(copytree(model, folder / family))
        config = UNet2DConditionModel.load_config(f"{model}/unet")
        unet = UNet2DConditionModel.from_config(dict(config) | TWO_LEVELS)
        unet.save_pretrained(f"{found[family]}/unet")
        theirs = ControlNetModel.from_unet(unet)
        for part in (*theirs.controlnet_down_blocks, theirs.controlnet_mid_block):
            torch.nn.init.normal_(part.weight, std=0.1)
        torch.nn.init.normal_(theirs.controlnet_cond_embedding.conv_out.weight, std=0.1)
        theirs.save_pretrained(folder / f"{family}-control")
        found[f"{family} control"] = str(folder / f"{family}-control")
        found[f"{family} lora"] = str(folder / f"{family}.safetensors")
        save_file(_lora(found[family]), found[f"{family} lora"])
        found[f"{family} ip adapter"] = str(folder / f"{family}-picture.safetensors")
        save_file(_ip_adapter(found[family]), found[f"{family} ip adapter"])
    found["encoder"] = str(folder / "encoder")
    _write_image_encoder(found["encoder"])
    pixels = torch.rand(4, 4, 3, generator=torch.Generator().manual_seed(1))
    picture = Picture.fromarray((255 * pixels).to(torch.uint8).numpy())
    picture.resize((32, 32)).save(folder / "image.png")
    mask = Picture.new("L", (32, 32), 255)
    mask.save(folder / "white.png")
    mask.paste(0, (0, 0, 20, 32))
    mask.save(folder / "mask.png")
    return found | {it: str(folder / f"{it}.png") for it in ("image", "mask", "white")}


def _lora(model: str) -> dict[str, torch.Tensor]:
    network = load_unet(model, torch.device("meta"), torch.float32)
    tensors = {}
    for name, layer in network.named_modules():
        if name.endswith(("to_q", "to_v")):
            outputs, inputs = layer.weight.shape
            tensors[f"unet.{name}.lora_A.weight"] = torch.randn(2, inputs)
            tensors[f"unet.{name}.lora_B.weight"] = 0.2 * torch.randn(outputs, 2)
    return tensors


def _ip_adapter(model: str) -> dict[str, torch.Tensor]:
    layers = text_attentions(load_unet(model, torch.device("meta"), torch.float32)).values()
    width = next(iter(layers)).to_k.weight.shape[1]
    shapes = {"image_proj.proj.weight": (4 * width, SEEN), "image_proj.proj.bias": (4 * width,)}
    shapes |= {"image_proj.norm.weight": (width,), "image_proj.norm.bias": (width,)}
    for number, layer in enumerate(layers):
        for kind in "kv":
            name = f"ip_adapter.{2 * number + 1}.to_{kind}_ip.weight"
            shapes[name] = tuple(layer.to_k.weight.shape)
    return {name: torch.randn(shape) for name, shape in shapes.items()}


def _write_image_encoder(folder: str) -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        image_size=16, patch_size=8, projection_dim=SEEN,
    )  # fmt: skip
    CLIPVisionModelWithProjection(config).save_pretrained(folder)


def mixed(number: int, guidances: tuple[str, ...] = GUIDANCES) -> Parts:
    """Mix parts: each sampler and each guidance comes as often, with whatever else by chance."""
    chance = Random(number)
    guidance = guidances[number % len(guidances)]
    names = FALLING if guidance == "manifold" else SAMPLERS
    scheduler = names[number % len(names)]
    on_grid = scheduler + chance.choice(("", "_karras", "_exponential", "_beta"))
    return Parts(
        family=chance.choice(("sd1", "sdxl")),
        begin=chance.choice(("text", "img2img", "inpaint")),
        scheduler=on_grid if on_grid in SCHEDULERS and names is SAMPLERS else scheduler,
        guidance=guidance,
        lora=chance.random() < 0.5,
        control=chance.random() < 0.5,
        image_prompt=chance.random() < 0.5,
        free_u=chance.random() < 0.5,
    )


def drawn(parts: Parts, files: dict[str, str]) -> torch.Tensor:
    return Session("cpu", "float32")(load_text(compose(parts, files)))["image"]


@pytest.mark.parametrize(
    "number", [0, *(pytest.param(it, marks=pytest.mark.slow) for it in range(1, MANY))]
)
def test_any_combination_checks_and_runs(files, number):
    graph = load_text(compose(mixed(number), files))
    report = check_shapes(graph, {}, torch.float32)
    assert report.findings == []
    assert report.shapes["image"].startswith("1×3×32×32")
    image = Session("cpu", "float32")(graph)["image"]
    assert image.shape == (1, 3, 32, 32)
    assert image.isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("number", range(MANY))
def test_features_of_no_strength_change_nothing_in_any_combination(files, relative, number):
    parts = mixed(number, QUIET)
    found, expected = (drawn(it, files) for it in (replace(parts, neutral=True), parts.bare()))
    assert relative(found, expected) < 1e-4


@pytest.mark.slow
def test_every_feature_changes_the_picture(files):
    plain = drawn(Parts(), files)
    changes = [
        {"lora": True},
        {"control": True},
        {"image_prompt": True},
        {"free_u": True},
        {"family": "sdxl"},
    ]
    changes += [{"guidance": it} for it in GUIDANCES[1:]] + [{"begin": "img2img"}]
    for change in changes:
        assert (drawn(replace(Parts(), **change), files) - plain).abs().max() > 2e-4, change


def test_inpainting_keeps_the_rest_in_any_combination(files):
    parts = Parts("sdxl", "inpaint", "dpmpp_2m", "perturbed", lora=True, control=True)
    image = drawn(parts, files)
    original = load_image(files["image"])
    assert torch.equal(image[..., :20], original[..., :20])
    assert not torch.equal(image[..., 20:], original[..., 20:])
