"""Pictures as prompts, by IP-Adapter, against the development oracle's pipelines."""

import diffusers
import pytest
import torch
from diffusers.utils import logging
from PIL import Image as Picture
from safetensors.torch import save_file
from transformers import CLIPImageProcessor, CLIPVisionConfig
from transformers import CLIPVisionModelWithProjection as TheirVision

import nodes
from graph import load, load_text
from nodes.denoise import unet
from nodes.image_prompt import apply_ip_adapter, image_prompt, load_ip_adapter
from nodes.load import load_unet
from nodes.models import CLIPVisionModelWithProjection, UNet2DConditionModel, UNet2DModel
from runtime import Session
from runtime.check import check_shapes
from tests.published_configs import UNETS, reduced

pytestmark = pytest.mark.slow  # whole runs

PROMPT = "two strawberries on a blue background"
CPU, SIDE, SEEN, WIDE = torch.device("cpu"), 32, 48, 20

assert nodes.__all__


@pytest.fixture(autouse=True)
def quiet():
    logging.set_verbosity_error()


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """Write a tiny image encoder; gives the oracle's and the folder around it."""
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=SEEN, intermediate_size=64, num_hidden_layers=3, num_attention_heads=2,
        image_size=SIDE, patch_size=8, projection_dim=WIDE,
    )  # fmt: skip
    clip = TheirVision(config).eval()
    folder = tmp_path_factory.mktemp("image-encoder")
    clip.save_pretrained(folder / "image_encoder")
    return clip, str(folder)


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(256, (SIDE, SIDE, 3), generator=generator, dtype=torch.uint8)
    found = Picture.fromarray(pixels.numpy())
    path = tmp_path_factory.mktemp("picture") / "picture.png"
    found.save(path)
    return str(path), found


def attentions(unet):
    """Give width and text width of each attention to the text, in the oracle's order."""
    names = [name for name in unet.attn_processors if name.endswith("attn2.processor")]
    layers = [unet.get_submodule(name.removesuffix(".processor")) for name in names]
    return [tuple(layer.to_k.weight.shape) for layer in layers]


def drawn(*shape):
    return torch.randn(shape) * shape[-1] ** -0.5


def projection(width, tokens=4):
    return {
        "proj.weight": drawn(tokens * width, WIDE), "proj.bias": drawn(tokens * width),
        "norm.weight": 1 + drawn(width), "norm.bias": drawn(width),
    }  # fmt: skip


def resampler(width, tokens=6, inner=24, heads=2):
    found = {"latents": drawn(1, tokens, inner)}
    for name, rows, columns in (("proj_in", inner, SEEN), ("proj_out", width, inner)):
        found |= {f"{name}.weight": drawn(rows, columns), f"{name}.bias": drawn(rows)}
    norms = {"norm_out": width}
    for layer in range(4):
        attention, forward = f"layers.{layer}.0", f"layers.{layer}.1"
        norms |= {f"{attention}.norm1": inner, f"{attention}.norm2": inner, f"{forward}.0": inner}
        found |= {
            f"{attention}.to_q.weight": drawn(64 * heads, inner),
            f"{attention}.to_kv.weight": drawn(128 * heads, inner),
            f"{attention}.to_out.weight": drawn(inner, 64 * heads),
            f"{forward}.1.weight": drawn(4 * inner, inner),
            f"{forward}.3.weight": drawn(inner, 4 * inner),
        }
    for name, rows in norms.items():
        found |= {f"{name}.weight": 1 + drawn(rows), f"{name}.bias": drawn(rows)}
    return found


def adapter(unet, make, seed=0):
    """Draw an IP-Adapter for a network, as its files have it."""
    torch.manual_seed(seed)
    shapes = attentions(unet)
    layers = {
        f"{2 * number + 1}.to_{kind}_ip.weight": drawn(*shape)
        for number, shape in enumerate(shapes)
        for kind in "kv"
    }
    return {"image_proj": make(shapes[0][1]), "ip_adapter": layers}


def saved(folder, tensors, ending):
    path = folder / f"adapter{ending}"
    if ending == ".bin":
        torch.save(tensors, path)
    else:
        flat = {
            f"{part}.{name}": it for part, inner in tensors.items() for name, it in inner.items()
        }
        save_file(flat, path)
    return str(path)


def with_adapter(pipeline, clip, tensors, scale):
    pipeline.register_modules(
        image_encoder=clip,
        feature_extractor=CLIPImageProcessor(
            size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
        ),
    )
    count = len(tensors) if isinstance(tensors, list) else 1
    pipeline.load_ip_adapter(
        tensors, subfolder=[""] * count, weight_name=[""] * count, image_encoder_folder=None
    )
    pipeline.set_ip_adapter_scale(scale)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def ours(text, tmp_path, **inputs):
    given = {"prompt": PROMPT, "steps": 4, "seed": 7, "width": 64, "height": 48}
    output = str(tmp_path / "out.png")
    graph, inputs = load_text(text), given | inputs
    assert check_shapes(graph, inputs, torch.float32).findings == []
    return Session("cpu", "float32")(graph, output=output, **inputs)["image"]


def theirs(pipeline, image):
    told = {"num_inference_steps": 4, "width": 64, "height": 48, "output_type": "pt"}
    generator = torch.Generator().manual_seed(7)
    return pipeline(PROMPT, ip_adapter_image=image, generator=generator, **told).images


def stable_diffusion(folder):
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(
        folder, safety_checker=None, requires_safety_checker=False
    )
    pipeline.scheduler = diffusers.UniPCMultistepScheduler.from_config(pipeline.scheduler.config)
    return pipeline


@pytest.mark.parametrize(("make", "ending"), [(projection, ".bin"), (resampler, ".safetensors")])
def test_a_picture_as_a_prompt(
    tiny_stable_diffusion, encoder, picture, tmp_path, relative, make, ending
):
    (clip, folder), (path, image) = encoder, picture
    pipeline = stable_diffusion(tiny_stable_diffusion)
    tensors = adapter(pipeline.unet, make)
    expected = theirs(with_adapter(pipeline, clip, tensors, 0.7), image)
    found = ours(
        graph_text("ip-adapter"), tmp_path, model=str(tiny_stable_diffusion), image=path, scale=0.7,
        adapter=saved(tmp_path, tensors, ending), encoder=folder, encoder_folder="image_encoder",
    )  # fmt: skip
    assert relative(found, expected) <= 1e-4


def graph_text(name):
    return load(name).source


# What stands in ip-adapter.yaml for one picture, in sdxl.yaml for two by two adapters.
TWO_IN_SDXL = {
    "  unet:     {node: load_unet, model: $model}\n": """
  plain:    {node: load_unet, model: $model}
  learned:  {node: load_ip_adapter, model: $adapter}
  other:    {node: load_ip_adapter, model: $adapter_2}
  eye:      {node: load_image_encoder, model: $encoder}
  changed:  {node: apply_ip_adapter, model: $plain, adapter: $learned, scale: 0.6}
  unet:     {node: apply_ip_adapter, model: $changed, adapter: $other, scale: 0.6}
  loaded:   {node: load_image, path: $picture}
  seen_1:   {node: image_prompt, encoder: $eye, adapter: $learned, image: $loaded}
  seen_2:   {node: image_prompt, encoder: $eye, adapter: $other, image: $loaded}
  seen:     {node: join_image_prompts, first: $seen_1, second: $seen_2}
  none_1:   {node: image_prompt, encoder: $eye, adapter: $learned}
  none_2:   {node: image_prompt, encoder: $eye, adapter: $other}
  nothing:  {node: join_image_prompts, first: $none_1, second: $none_2}
""",
    "pooled_text: $text.pooled,": "image_prompt: $seen, pooled_text: $text.pooled,",
    "pooled_text: $no_text.pooled,": "image_prompt: $nothing, pooled_text: $no_text.pooled,",
    "inputs:\n": "inputs:\n  adapter:\n  adapter_2:\n  encoder:\n  picture:\n",
}


@pytest.mark.slow
def test_two_pictures_before_sdxl(tiny_sdxl, encoder, picture, tmp_path, relative):
    (clip, folder), (path, image) = encoder, picture
    pipeline = diffusers.StableDiffusionXLPipeline.from_pretrained(tiny_sdxl[1])
    both = [adapter(pipeline.unet, projection, 1), adapter(pipeline.unet, resampler, 2)]
    expected = theirs(with_adapter(pipeline, clip, both, [0.6, 0.6]), [image, image])
    text = graph_text("sdxl")
    for old, new in TWO_IN_SDXL.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    files = [saved(tmp_path, it, ending) for it, ending in zip(both, (".bin", ".safetensors"), strict=True)]  # fmt: skip
    found = ours(
        text, tmp_path, model=tiny_sdxl[1], picture=path, encoder=folder, adapter=files[0],
        adapter_2=files[1],
    )  # fmt: skip
    assert relative(found, expected) <= 1e-4


@pytest.fixture(scope="module")
def plain(tiny_stable_diffusion):
    return load_unet(str(tiny_stable_diffusion), CPU, torch.float32)


@pytest.fixture(scope="module")
def loaded(tiny_stable_diffusion, tmp_path_factory):
    unet = diffusers.UNet2DConditionModel.from_pretrained(tiny_stable_diffusion, subfolder="unet")
    file = saved(tmp_path_factory.mktemp("adapter"), adapter(unet, projection), ".safetensors")
    return load_ip_adapter(file, CPU, torch.float32)


def test_the_network_itself_stays_and_shares_its_weights(plain, loaded, relative):
    sample, time, text = torch.randn(2, 4, 8, 8), torch.tensor(500), torch.randn(1, 7, 32)
    before = unet(plain, sample, time, text)
    changed = apply_ip_adapter(plain, loaded, 0.5)
    seen = torch.randn(1, 4, 32)
    after = unet(changed, sample, time, text, image_prompt=seen)
    assert relative(after, before) > 1e-3
    assert torch.equal(unet(plain, sample, time, text), before)
    assert torch.equal(
        unet(apply_ip_adapter(plain, loaded, 0.0), sample, time, text, image_prompt=seen), before
    )
    own = {id(it) for it in plain.parameters()}
    extra = [name for name, it in changed.named_parameters() if id(it) not in own]
    assert len(extra) == 2 * len(loaded.layers)
    assert all(".attn2.pictures.0." in name for name in extra)


def call(network, **told):
    return unet(network, torch.zeros(1, 4, 8, 8), torch.tensor(5), torch.zeros(1, 7, 32), **told)


def test_what_does_not_fit_is_told_in_words(plain, loaded, encoder, tmp_path):
    changed = apply_ip_adapter(plain, loaded)
    with pytest.raises(
        ValueError, match="has an IP-Adapter and reads a picture: wire `image_prompt`"
    ):
        call(changed)
    with pytest.raises(ValueError, match="reads no picture: leave out `image_prompt`, or give it"):
        call(plain, image_prompt=torch.zeros(1, 4, 32))
    with pytest.raises(
        ValueError, match="`image_prompt` has 16 tokens, the IP-Adapter of this network 4"
    ):
        call(changed, image_prompt=torch.zeros(1, 16, 32))
    other = UNet2DConditionModel.from_config(reduced(UNETS["stable diffusion 1"]))
    with pytest.raises(
        ValueError,
        match=r"`adapter` adapter.safetensors is for 16 attentions to text of width 32, `model` has 16 of width 24",
    ):
        apply_ip_adapter(other, loaded)
    pixels = UNet2DModel.from_config(
        {"sample_size": 8, "block_out_channels": [8], "norm_num_groups": 8,
         "down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"]}
    )  # fmt: skip
    with pytest.raises(ValueError, match="`model` reads no text, and an IP-Adapter stands beside"):
        apply_ip_adapter(pixels, loaded)
    eye = CLIPVisionModelWithProjection.from_config(
        {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2, "projection_dim": 12}
    )
    with pytest.raises(
        ValueError, match=r"adapter.safetensors reads a width of 20, `encoder` gives 12"
    ):
        image_prompt(eye, loaded)


WRONG = {
    "has ip_adapter.0.to_q_lora.down.weight": {"ip_adapter.0.to_q_lora.down.weight": (2, 2)},
    "lacks tensors": {"image_proj.proj.weight": (2, 2), "ip_adapter.1.to_k_ip.weight": (2, 2)},
    "only those of IP-Adapter and IP-Adapter Plus: proj.0.weight": {
        "image_proj.proj.0.weight": (2, 2), "ip_adapter.1.to_k_ip.weight": (2, 2),
        "ip_adapter.1.to_v_ip.weight": (2, 2),
    },
}  # fmt: skip


@pytest.mark.parametrize(("message", "shapes"), WRONG.items())
def test_a_file_of_another_kind_is_refused(tmp_path, message, shapes):
    path = tmp_path / "faceid.safetensors"
    save_file({name: torch.zeros(shape) for name, shape in shapes.items()}, path)
    with pytest.raises(ValueError, match=message):
        load_ip_adapter(str(path), CPU, torch.float32)
