"""LoRA in every spelling changes networks as the development oracle changes them."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import nodes
from graph import load
from nodes.load import load_unet
from nodes.lora import apply_lora, load_lora
from nodes.models import CLIPTextModel, Conditions
from nodes.models.packed import Packed
from nodes.text import load_text_encoder
from nodes.weights import read_lora, unet_names
from runtime import RunError, Session

assert nodes.__all__  # importing registers the node types
EMOJI = Path(nodes.__file__).parent.parent / "graphs" / "checkpoints" / "emoji-64"
CPU, META = torch.device("cpu"), torch.device("meta")
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
TEXT = ("q_proj", "k_proj", "v_proj", "out_proj")


@pytest.fixture(scope="module")
def peft():
    return pytest.importorskip("peft", reason="the oracle needs peft for LoRA")


@pytest.fixture
def pipeline(peft, tiny_stable_diffusion):
    from diffusers import StableDiffusionPipeline

    return StableDiffusionPipeline.from_pretrained(tiny_stable_diffusion).to(torch.float32)


@pytest.fixture
def pipeline_xl(peft, tiny_sdxl):
    from diffusers import StableDiffusionXLPipeline

    return StableDiffusionXLPipeline.from_pretrained(tiny_sdxl[1])


def layers(network, endings):
    """List the linear layers and convolutions whose names end so, with the shapes of their weights."""
    return {
        name: tuple(module.weight.shape)
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d | Packed) and name.endswith(endings)
    }


def low_rank(shape, rank, core=False):
    """Draw the pieces of one layer: `up` and `down`, and a core between them."""
    outputs, inputs, *kernel = shape
    scale = 0.3 / rank**0.5
    if core:
        return {
            "up": scale * torch.randn(outputs, rank, 1, 1),
            "mid": torch.randn(rank, rank, *kernel),
            "down": scale * torch.randn(rank, inputs, 1, 1),
        }
    ones = [1] * len(kernel)
    return {
        "up": scale * torch.randn(outputs, rank, *ones),
        "down": scale * torch.randn(rank, inputs, *kernel),
    }


def as_peft(part, layer, pieces):
    return {
        f"{part}.{layer}.lora_A.weight": pieces["down"],
        f"{part}.{layer}.lora_B.weight": pieces["up"],
    }


def as_old_diffusers(part, layer, pieces):
    attention, name = layer.replace("to_out.0", "to_out").rsplit(".", 1)
    name = {"q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "out_proj": "to_out"}.get(
        name, name
    )
    within = f"{part}.{attention}" + (".processor" if part == "unet" else "")
    return {f"{within}.{name}_lora.{end}.weight": pieces[end] for end in ("down", "up")}


def as_kohya(part, layer, pieces, alpha=2.0):
    prefix = {"unet": "lora_unet", "text_encoder": "lora_te", "text_encoder_2": "lora_te2"}[part]
    stem = f"{prefix}_{layer.replace('.', '_')}"
    named = {f"{stem}.lora_{name}.weight": piece for name, piece in pieces.items()}
    return named | {f"{stem}.alpha": torch.tensor(alpha)}


def draw(write, part, shapes, rank=4, seed=0):
    torch.manual_seed(seed)
    tensors = {}
    for layer, shape in shapes.items():
        name = f"text_model.{layer.removeprefix('text_model.')}" if part != "unet" else layer
        tensors |= write(part, name, low_rank(shape, rank))
    return {name: piece.contiguous() for name, piece in tensors.items()}


def saved(path, tensors, **metadata):
    save_file(tensors, path, metadata=metadata or None)
    return str(path)


def ours(folder, part, loras, device=CPU):
    """Load a part of a checkpoint and change it by files with weights."""
    if part == "unet":
        network = load_unet(str(folder), device, torch.float32)
    else:
        network = load_text_encoder(str(folder), device, torch.float32, part)
    for file, weight in loras:
        network = apply_lora(network, load_lora(str(file), device), weight)
    return network


def predicted(network, width=32):
    torch.manual_seed(1)
    sample, text = torch.randn(2, 4, 16, 16), torch.randn(2, 7, width)
    with torch.no_grad():
        found = network(sample, torch.tensor(7), text)
    return getattr(found, "sample", found)


def read(clip):
    tokens = torch.arange(2, 26).reshape(2, 12)
    with torch.no_grad():
        if isinstance(clip, CLIPTextModel):
            return clip(tokens)[-2]
        return clip(tokens, output_hidden_states=True).hidden_states[-2]


UNET_DIALECTS = {
    "peft, every kind of layer": (
        as_peft, (*ATTENTION, "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2")),
    "diffusers before peft": (as_old_diffusers, ATTENTION),
    "kohya": (as_kohya, (*ATTENTION, "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2")),
    "kohya, convolutions too": (as_kohya, (*ATTENTION, "conv1", "conv2", "conv_shortcut",
                                           "time_emb_proj", "samplers.0.conv")),
}  # fmt: skip


@pytest.mark.parametrize(("write", "endings"), UNET_DIALECTS.values(), ids=UNET_DIALECTS)
def test_a_unet_predicts_as_the_oracles(
    pipeline, tiny_stable_diffusion, tmp_path, write, endings, relative
):
    file = saved(tmp_path / "a.safetensors", draw(write, "unet", layers(pipeline.unet, endings)))
    before = predicted(pipeline.unet)
    pipeline.load_lora_weights(file, adapter_name="a")
    pipeline.set_adapters(["a"], [0.7])
    expected = predicted(pipeline.unet)
    found = predicted(ours(tiny_stable_diffusion, "unet", [(file, 0.7)]))
    assert relative(before, expected) > 1e-2  # it changes something
    assert relative(found, expected) <= 1e-4


def original_names(config):
    """Name the layers of a UNet as the original files do, which kohya trains SDXL by."""
    return {
        name.ours[0].removesuffix(".weight"): name.original.removesuffix(".weight")
        for name in unet_names(config)
        if name.original.endswith(".weight")
    }


@pytest.mark.slow
def test_an_sdxl_unet_is_changed_by_the_names_of_original_files(
    pipeline_xl, tiny_sdxl, tmp_path, relative
):
    names = original_names(vars(load_unet(tiny_sdxl[1], META, torch.float32).config))
    endings = (*ATTENTION, "proj_in", "ff.net.2", "conv1", "conv2", "samplers.0.conv",
               "conv_shortcut", "conv_in", "time_emb_proj")  # fmt: skip
    shapes = layers(pipeline_xl.unet, endings)
    tensors = draw(as_kohya, "unet", {names[name]: shape for name, shape in shapes.items()})
    assert "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k.alpha" in tensors
    file = saved(tmp_path / "a.safetensors", tensors)
    pipeline_xl.load_lora_weights(file, adapter_name="a")
    network = ours(tiny_sdxl[1], "unet", [(file, 1.0)])
    sample, text = torch.randn(2, 4, 16, 16), torch.randn(2, 7, 40)
    pooled, size = torch.randn(2, 12), torch.randn(2, 6)
    told = {"text_embeds": pooled, "time_ids": size}
    with torch.no_grad():
        expected = pipeline_xl.unet(sample, torch.tensor(7), text, added_cond_kwargs=told).sample
        found = network(sample, torch.tensor(7), text, Conditions(pooled_text=pooled, size=size))
    assert relative(found, expected) <= 1e-4


TEXT_DIALECTS = {
    "peft": (as_peft, (*TEXT, "fc1", "fc2")),
    "diffusers before peft": (as_old_diffusers, TEXT),
    "kohya": (as_kohya, (*TEXT, "fc1", "fc2")),
}


@pytest.mark.parametrize(("write", "endings"), TEXT_DIALECTS.values(), ids=TEXT_DIALECTS)
def test_a_text_encoder_reads_as_the_oracles(
    pipeline, tiny_stable_diffusion, tmp_path, write, endings, relative
):
    tensors = draw(write, "text_encoder", layers(pipeline.text_encoder, endings))
    file = saved(tmp_path / "a.safetensors", tensors)
    before = read(pipeline.text_encoder)
    pipeline.load_lora_weights(file, adapter_name="a")
    pipeline.set_adapters(["a"], [0.7])
    expected = read(pipeline.text_encoder)
    found = read(ours(tiny_stable_diffusion, "text_encoder", [(file, 0.7)]).clip)
    assert relative(before, expected) > 1e-2
    assert relative(found, expected) <= 1e-4


@pytest.mark.parametrize("part", ["text_encoder", "text_encoder_2"])
def test_each_of_two_text_encoders_gets_its_own(pipeline_xl, tiny_sdxl, tmp_path, part, relative):
    tensors = {}
    for each in ("text_encoder", "text_encoder_2"):
        shapes = layers(getattr(pipeline_xl, each), (*TEXT, "fc1"))
        tensors |= draw(as_kohya, each, shapes)
    tensors = {name.replace("lora_te_", "lora_te1_"): piece for name, piece in tensors.items()}
    file = saved(tmp_path / "a.safetensors", tensors)
    pipeline_xl.load_lora_weights(file, adapter_name="a")
    expected = read(getattr(pipeline_xl, part))
    assert relative(read(ours(tiny_sdxl[1], part, [(file, 1.0)]).clip), expected) <= 1e-4


@pytest.mark.filterwarnings("ignore:Already found a `peft_config`:UserWarning")
def test_two_at_once_and_in_either_order(pipeline, tiny_stable_diffusion, tmp_path, relative):
    first = draw(as_peft, "unet", layers(pipeline.unet, ATTENTION), seed=2)
    second = draw(as_kohya, "unet", layers(pipeline.unet, (*ATTENTION, "conv1")), seed=3)
    files = [(saved(tmp_path / "a.safetensors", first), 0.8),
             (saved(tmp_path / "b.safetensors", second), -0.5)]  # fmt: skip
    for name, (file, _) in zip("ab", files, strict=True):
        pipeline.load_lora_weights(file, adapter_name=name)
    pipeline.set_adapters(["a", "b"], [0.8, -0.5])
    expected = predicted(pipeline.unet)
    for order in (files, files[::-1]):
        found = predicted(ours(tiny_stable_diffusion, "unet", order))
        assert relative(found, expected) <= 1e-4


def test_what_the_oracle_saves_has_its_scale_in_the_metadata(
    peft, pipeline, tiny_stable_diffusion, tmp_path, relative
):
    config = peft.LoraConfig(
        r=4, lora_alpha=6, init_lora_weights=False, target_modules=["to_q", "to_v"],
        alpha_pattern={"attn2.to_v": 3}, rank_pattern={"attn2.to_q": 2}, use_rslora=True,
    )  # fmt: skip
    pipeline.unet.add_adapter(config, "a")
    expected = predicted(pipeline.unet)
    metadata = peft.LoraConfig.to_dict(pipeline.unet.peft_config["a"])
    pipeline.save_lora_weights(
        tmp_path,
        unet_lora_layers=peft.get_peft_model_state_dict(pipeline.unet, adapter_name="a"),
        unet_lora_adapter_metadata=metadata,
    )
    found = predicted(ours(tiny_stable_diffusion, "unet", [(tmp_path, 1)]))
    assert relative(found, expected) <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "options"),
    [("LoHa", {}), ("LoHa", {"use_effective_conv2d": True}), ("LoKr", {}),
     ("LoKr", {"use_effective_conv2d": True, "decompose_factor": 2, "decompose_both": True})],
)  # fmt: skip
def test_products_of_two_matrices_are_those_of_lycoris(
    peft, pipeline, tiny_stable_diffusion, tmp_path, kind, options, relative
):
    config = getattr(peft, f"{kind}Config")(
        r=2, alpha=3, init_weights=False, target_modules=["to_q", "attn2.to_k", "conv1"], **options
    )
    peft.inject_adapter_in_model(config, pipeline.unet)
    for name, parameter in pipeline.unet.named_parameters():
        if "hada_" in name or "lokr_" in name:
            nn.init.normal_(parameter, std=0.3)
    tensors = {}
    for name, value in pipeline.unet.state_dict().items():
        if "hada_" in name or "lokr_" in name:
            layer, piece = name.removesuffix(".default").rsplit(".", 1)
            stem = f"lora_unet_{layer.replace('.', '_')}"
            tensors |= {f"{stem}.{piece}": value, f"{stem}.alpha": torch.tensor(3.0)}
    file = saved(tmp_path / "a.safetensors", tensors)
    expected = predicted(pipeline.unet)
    found = predicted(ours(tiny_stable_diffusion, "unet", [(file, 1.0)]))
    assert relative(predicted(ours(tiny_stable_diffusion, "unet", [])), expected) > 1e-2
    assert relative(found, expected) <= 1e-4
    assert any(name.endswith("_t2") for name in tensors) == bool(options)


def test_a_core_between_two_matrices_is_three_convolutions(tmp_path, relative):
    torch.manual_seed(0)
    pieces = low_rank((6, 5, 3, 3), 2, core=True)
    file = saved(tmp_path / "a.safetensors", as_kohya("unet", "x.conv", pieces, alpha=4.0))
    x = torch.randn(1, 5, 8, 8)
    expected = x
    for name in ("down", "mid", "up"):
        expected = nn.functional.conv2d(expected, pieces[name], padding=int(name == "mid"))
    kernel = read_lora(Path(file), CPU)["unet"]["x_conv"].matrix().view(6, 5, 3, 3)
    assert relative(nn.functional.conv2d(x, kernel, padding=1), 2 * expected) <= 1e-5


def test_a_changed_network_shares_what_is_not_changed(tiny_stable_diffusion, tmp_path):
    base = load_unet(str(tiny_stable_diffusion), CPU, torch.float32)
    before = predicted(base)
    tensors = draw(as_peft, "unet", layers(base, "attn2.to_k"))
    lora = load_lora(saved(tmp_path / "a.safetensors", tensors), CPU)
    changed = apply_lora(base, lora, 1.0)
    assert type(changed) is type(base)
    assert not torch.equal(predicted(changed), before)
    assert torch.equal(predicted(base), before)
    own = {name for name, module in changed.named_modules()
           if not any(module.children()) and module is not base.get_submodule(name)}  # fmt: skip
    assert own == set(layers(base, "attn2.to_k"))
    theirs = {id(parameter) for parameter in base.parameters()}
    assert all(id(parameter) in theirs for parameter in changed.parameters())


def test_a_weight_of_nothing_and_a_part_that_is_not_there_change_nothing(
    tiny_stable_diffusion, tmp_path
):
    base = load_unet(str(tiny_stable_diffusion), CPU, torch.float32)
    tensors = draw(as_peft, "unet", layers(base, "attn2.to_k"))
    lora = load_lora(saved(tmp_path / "a.safetensors", tensors), CPU)
    assert torch.equal(predicted(apply_lora(base, lora, 0.0)), predicted(base))
    encoder = load_text_encoder(str(tiny_stable_diffusion), CPU, torch.float32)
    assert torch.equal(read(apply_lora(encoder, lora).clip), read(encoder.clip))


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"conv_in.weight": (4, 4)}, r"is no LoRA that is known: it has conv_in\.weight; expected pairs such as `unet"),
        ({"unet.a.lora_A.weight": (2, 4), "unet.a.lora_C.weight": (2, 4)}, r"it has unet\.a\.lora_C\.weight; expected"),
        ({"unet.a.lora_A.weight": (2, 4)}, "is no whole LoRA: the pieces of a do not make a weight: lora_down 2×4"),
        ({"unet.a.lora_A.weight": (2, 4), "unet.a.lora_B.weight": (4, 3)}, "do not make a weight: lora_down 2×4, lora_up 4×3"),
        ({"unet.a.lora_A.weight": (2, 4), "unet.a.hada_w1_a": (4, 2)}, "do not make a weight: hada_w1_a 4×2, lora_down 2×4"),
        ({"lora_unet_a.alpha": ()}, "do not make a weight: alpha a number"),
        ({"lora_unet_a.dora_scale": (2, 1)}, "is a DoRA, which is not implemented: it scales a"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_understood_is_refused(tmp_path, tensors, message):
    made = {name: torch.ones(shape) for name, shape in tensors.items()}
    file = saved(tmp_path / "a.safetensors", made)
    with pytest.raises(ValueError, match=rf"a\.safetensors {message}|a\.safetensors .*{message}"):
        read_lora(Path(file), META)


@pytest.mark.parametrize("device", [CPU, META])
@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        ("mid_block.attentions.0.transformer_blocks.0.attn2.to_k", (64, 2048),
         r"made for text of width 2048, this UNet reads 32: is it of SDXL\? "
         r"\(it changes mid_block_\w+_to_k of 64×2048, which is 64×32 here\)"),
        ("down_blocks.9.attentions.0.transformer_blocks.1.attn2.to_k", (64, 768),
         r"made for text of width 768, this UNet reads 32: is it of Stable Diffusion 1\? "
         r"\(UNet2DConditionModel has no down_blocks_9_\w+_to_k\)"),
        ("transformer_blocks.0.attn.to_q", (64, 64),
         "made for another network: UNet2DConditionModel has no transformer_blocks_0_attn_to_q"),
        ("conv_in", (32, 9, 3, 3), "made for another network: it changes conv_in of 32×81, which is 32×36 here"),
    ],
)  # fmt: skip
def test_a_lora_of_another_family_is_refused(
    tiny_stable_diffusion, tmp_path, layer, shape, message, device
):
    file = saved(tmp_path / "a.safetensors", draw(as_peft, "unet", {layer: shape}))
    with pytest.raises(ValueError, match=rf"`lora` a\.safetensors was {message}"):
        ours(tiny_stable_diffusion, "unet", [(file, 1.0)], device)


def test_a_folder_without_the_file_and_another_digest_are_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no pytorch_lora_weights"):
        load_lora(str(tmp_path), CPU)
    file = saved(tmp_path / "x.safetensors", draw(as_peft, "unet", {"a": (4, 4)}))
    with pytest.raises(ValueError, match="is not the file that the graph pins"):
        load_lora(str(tmp_path), CPU, "x.safetensors", sha256="0" * 64)
    assert load_lora(file, CPU).name == "x.safetensors"


def test_a_graph_with_loras_leaves_nothing_behind(tmp_path):
    unet = load_unet(str(EMOJI), META, torch.float32)
    clip = load_text_encoder(str(EMOJI), META, torch.float32).clip
    first = draw(as_kohya, "unet", layers(unet, ATTENTION)) | draw(
        as_kohya, "text_encoder", layers(clip, TEXT)
    )
    second = draw(as_peft, "unet", layers(unet, "conv1"), seed=5)
    files = [saved(tmp_path / f"{name}.safetensors", it) for name, it in {"a": first, "b": second}.items()]  # fmt: skip
    common = {"model": "emoji-64", "prompt": "a red heart", "steps": 3, "seed": 4, "output": str(tmp_path / "x.png")}  # fmt: skip
    alone = Session("cpu", "float32")(load("sd15"), **common)["image"]
    session = Session("cpu", "float32")
    changed = session(load("lora"), loras=files, weights=[0.8, 0.5], **common)["image"]
    turned = session(load("lora"), loras=files[::-1], weights=[0.5, 0.8], **common)["image"]
    none = session(load("lora"), loras=[], weights=[], **common)["image"]
    after = session(load("sd15"), **common)["image"]
    assert torch.equal(after, alone)
    assert torch.equal(none, alone)
    assert (changed - alone).abs().max() > 0.05
    assert torch.allclose(turned, changed, atol=1e-4)
    with pytest.raises(RunError, match="differ in length"):
        session(load("lora"), loras=files, weights=[1.0], **common)
