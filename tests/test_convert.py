"""Checkpoints through `run-graph convert`, there and back."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from nodes.convert import convert
from nodes.image import load_image
from nodes.load import load_unet
from nodes.text import load_text_encoder, load_tokenizer
from nodes.weights import find_component, open_checkpoint
from runtime.cli import main
from tests.checkpoints_in_memory import with_prefix
from tests.conftest import weights_of

CPU = torch.device("cpu")
EMOJI = Path(__file__).parent.parent / "graphs" / "checkpoints" / "emoji-64"
UNET, TEXT = "unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "README.md"
    }


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def test_a_folder_comes_back_byte_for_byte(tmp_path):
    convert("emoji-64", tmp_path / "one.safetensors")
    convert(str(tmp_path / "one.safetensors"), tmp_path / "folder")
    convert(str(tmp_path / "folder"), tmp_path / "two.safetensors")
    found, expected = contents(tmp_path / "folder"), contents(EMOJI)
    assert found.keys() == expected.keys()
    for name, text in expected.items():
        if not name.endswith(".safetensors"):
            assert found[name] == text, name
        else:
            same(load_file(tmp_path / "folder" / name), load_file(EMOJI / name))
    assert (tmp_path / "one.safetensors").read_bytes() == (
        tmp_path / "two.safetensors"
    ).read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_a_single_file_draws_the_same_picture(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    convert("emoji-64", tmp_path / "one.safetensors")
    for model, output in (("emoji-64", "a.png"), ("one.safetensors", "b.png")):
        words = [f"model={model}", "prompt=a fox", "steps=2", f"output={output}"]
        assert main(["sd15", *words]) == 0
    assert torch.equal(load_image("a.png"), load_image("b.png"))


def test_names_in_a_single_file_are_the_original_ones(tiny_stable_diffusion, tmp_path):
    target = tmp_path / "one.safetensors"
    convert(str(tiny_stable_diffusion), target)
    tensors = load_file(target)
    unet = load_file(tiny_stable_diffusion / UNET)
    key = "down_blocks.1.attentions.1.transformer_blocks.0.attn1.to_q.weight"
    original = "input_blocks.5.1.transformer_blocks.0.attn1.to_q.weight"
    assert torch.equal(tensors[f"model.diffusion_model.{original}"], unet[key])
    prefixes = {re.match(r"(\w+\.\w+)", name)[1] for name in tensors}
    assert {"model.diffusion_model", "cond_stage_model.transformer"} <= prefixes
    with safe_open(target, "pt") as file:
        assert "unet/config.json" in json.loads(file.metadata()["run-graph.files"])


@pytest.mark.slow
def test_the_folder_opens_in_diffusers(tiny_stable_diffusion, tmp_path):
    from diffusers import StableDiffusionPipeline

    convert(str(tiny_stable_diffusion), tmp_path / "one.safetensors")
    convert(str(tmp_path / "one.safetensors"), tmp_path / "folder")
    pictures = []
    for folder in (tiny_stable_diffusion, tmp_path / "folder"):
        pipeline = StableDiffusionPipeline.from_pretrained(folder)
        pipeline.set_progress_bar_config(disable=True)
        generator = torch.Generator().manual_seed(0)
        options = {"num_inference_steps": 2, "output_type": "np", "generator": generator}
        pictures.append(pipeline("a fox", height=32, width=32, **options).images)
    assert (pictures[0] == pictures[1]).all()


@pytest.mark.slow
def test_the_single_file_opens_in_diffusers(tiny_stable_diffusion, tmp_path):
    from diffusers import StableDiffusionPipeline

    target = tmp_path / "one.safetensors"
    convert(str(tiny_stable_diffusion), target)
    options = {"config": str(tiny_stable_diffusion), "local_files_only": True}
    pipeline = StableDiffusionPipeline.from_single_file(str(target), **options)
    expected = StableDiffusionPipeline.from_pretrained(tiny_stable_diffusion)
    for part in ("unet", "vae", "text_encoder"):
        same(getattr(pipeline, part).state_dict(), getattr(expected, part).state_dict())


def xl(folder, with_first=True):
    """Write a small checkpoint in SDXL's architecture, or its refiner's, by the oracle."""
    from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    from tests.published_configs import UNETS, reduced

    torch.manual_seed(0)
    text = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "vocab_size": 835, "projection_dim": 24,
    }  # fmt: skip
    UNet2DConditionModel(**reduced(UNETS["sdxl"])).save_pretrained(folder / "unet")
    AutoencoderKL(norm_num_groups=4, block_out_channels=(8,)).save_pretrained(folder / "vae")
    index = {"_class_name": "StableDiffusionXLPipeline"}
    index |= {"unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"]}
    index["scheduler"] = ["diffusers", "EulerDiscreteScheduler"]
    EulerDiscreteScheduler().save_pretrained(folder / "scheduler")
    if with_first:
        index["text_encoder"] = ["transformers", "CLIPTextModel"]
        first = CLIPTextModel(CLIPTextConfig(hidden_act="quick_gelu", **text))
        first.save_pretrained(folder / "text_encoder")
    index["text_encoder_2"] = ["transformers", "CLIPTextModelWithProjection"]
    second = CLIPTextModelWithProjection(CLIPTextConfig(hidden_act="gelu", **text))
    second.save_pretrained(folder / "text_encoder_2")
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


@pytest.mark.parametrize(("with_first", "place"), [(True, 1), (False, 0)])
def test_two_text_encoders_come_back(with_first, place, tmp_path):
    folder = xl(tmp_path / "xl", with_first)
    convert(str(folder), tmp_path / "one.safetensors")
    names = load_file(tmp_path / "one.safetensors")
    projection = names[f"conditioner.embedders.{place}.model.text_projection"]
    second = load_file(folder / "text_encoder_2" / "model.safetensors")
    assert torch.equal(projection, second["text_projection.weight"].T)
    assert ("conditioner.embedders.0.transformer.text_model.final_layer_norm.bias" in names) is with_first  # fmt: skip
    convert(str(tmp_path / "one.safetensors"), tmp_path / "back")
    for path in folder.rglob("*.safetensors"):
        part = path.parent.name  # the oracle leaves out a prefix that published files have
        expected = with_prefix(part, load_file(path))
        same(load_file(tmp_path / "back" / path.relative_to(folder)), expected)


@pytest.mark.parametrize("target", ["half.safetensors", "half"])
def test_precision_is_that_which_is_asked_for(target, tiny_stable_diffusion, tmp_path):
    convert(str(tiny_stable_diffusion), tmp_path / target, dtype="bfloat16")
    found = open_checkpoint(str(tmp_path / target)).components["unet"].tensors
    expected = load_file(tiny_stable_diffusion / UNET)
    assert {tensor.dtype for tensor in found.values()} == {torch.bfloat16}
    for name, tensor in expected.items():
        assert torch.equal(found[name].read(), tensor.bfloat16()), name


def test_a_part_alone_is_a_file_or_a_folder(tmp_path):
    convert("emoji-64", tmp_path / "vae.safetensors", part="vae")
    convert(str(tmp_path / "vae.safetensors"), tmp_path / "vae")
    assert {path.name for path in (tmp_path / "vae").iterdir()} == {
        "config.json",
        "diffusion_pytorch_model.safetensors",
    }
    expected = load_file(EMOJI / "vae" / "diffusion_pytorch_model.safetensors")
    same(load_file(tmp_path / "vae" / "diffusion_pytorch_model.safetensors"), expected)
    assert (
        find_component(str(tmp_path / "vae.safetensors"), "vae").tensors.keys() == expected.keys()
    )


def test_an_autoencoder_with_names_of_before_2023_is_converted(tmp_path):
    current = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    shutil.copytree(EMOJI, tmp_path / "old")
    path = tmp_path / "old" / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    for name in [name for name in tensors if ".attentions." in name]:
        for now, before in current.items():
            if f".{now}." in name:
                tensors[name.replace(f".{now}.", f".{before}.")] = tensors.pop(name)
    save_file(tensors, path)
    for source, target in (("emoji-64", "new.safetensors"), (tmp_path / "old", "old.safetensors")):
        convert(str(source), tmp_path / target)
    same(load_file(tmp_path / "old.safetensors"), load_file(tmp_path / "new.safetensors"))


def test_what_a_file_says_of_itself_is_kept(tmp_path):
    convert("emoji-64", tmp_path / "one.safetensors")
    with safe_open(tmp_path / "one.safetensors", "pt") as file:
        metadata = {**file.metadata(), "modelspec.title": "Emoji"}
    save_file(load_file(tmp_path / "one.safetensors"), tmp_path / "titled.safetensors", metadata)
    convert(str(tmp_path / "titled.safetensors"), tmp_path / "folder")
    convert(str(tmp_path / "folder"), tmp_path / "two.safetensors")
    with safe_open(tmp_path / "two.safetensors", "pt") as file:
        assert file.metadata() == metadata


class Malicious:
    def __reduce__(self):
        return (open, ("was_run", "w"))


def test_a_pickle_is_read_as_data_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    convert("emoji-64", Path("vae.safetensors"), part="vae")
    tensors = load_file("vae.safetensors")
    torch.save({"state_dict": tensors, "epoch": 3}, "vae.ckpt")
    assert main(["convert", "vae.ckpt", "out.safetensors"]) == 2
    assert "is of no known family; the nearest is " in capsys.readouterr().err
    torch.save({"state_dict": tensors, "callback": Malicious()}, "bad.ckpt")
    assert main(["convert", "bad.ckpt", "out.safetensors"]) == 2
    said = capsys.readouterr().err
    assert "bad.ckpt is a pickle that wants to run code, so it was not opened" in said
    assert "look for a safetensors file of the same weights" in said
    assert {path.name for path in tmp_path.iterdir()} == {"vae.safetensors", "vae.ckpt", "bad.ckpt"}


def test_the_checker_of_pictures_has_no_place_in_a_single_file(tmp_path):
    shutil.copytree(EMOJI, tmp_path / "old")
    index = json.loads((tmp_path / "old" / "model_index.json").read_text())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    (tmp_path / "old" / "model_index.json").write_text(json.dumps(index))
    (tmp_path / "old" / "safety_checker").mkdir()
    config = {"architectures": ["StableDiffusionSafetyChecker"]}
    (tmp_path / "old" / "safety_checker" / "config.json").write_text(json.dumps(config))
    save_file({"a": torch.ones(2)}, tmp_path / "old" / "safety_checker" / "model.safetensors")
    report = convert(str(tmp_path / "old"), tmp_path / "one.safetensors")
    assert report.endswith("left out: safety_checker")
    convert(str(tmp_path / "one.safetensors"), tmp_path / "back")
    index = json.loads((tmp_path / "back" / "model_index.json").read_text())
    assert index["safety_checker"] == [None, None]


def overflow(folder):
    tensors = load_file(folder / UNET)
    tensors["conv_in.bias"] = tensors["conv_in.bias"].float() * 0 + 1e6
    save_file(tensors, folder / UNET)


def incomplete(folder):
    tensors = load_file(folder / UNET)
    del tensors["conv_in.bias"]
    save_file(tensors, folder / UNET)


def other_network(folder):
    path = folder / "unet" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "_class_name": "FluxTransformer"}))


@pytest.mark.parametrize(
    ("damage", "options", "message"),
    [
        (overflow, {"dtype": "float16"}, "input_blocks.0.0.bias holds 1e+06, which float16 cannot: write bfloat16 or float32"),
        (incomplete, {}, "unet does not fit its config: missing conv_in.bias"),
        (other_network, {}, "there are no names for unet (FluxTransformer) in an original single file"),
        (None, {"part": "decoder"}, "there is no part 'decoder'"),
        (None, {"family": "sd1"}, "is no single file: its configs say what it is, no family"),
    ],
)  # fmt: skip
def test_what_cannot_be_converted_leaves_nothing_behind(damage, options, message, tmp_path):
    shutil.copytree(EMOJI, tmp_path / "in")
    if damage:
        damage(tmp_path / "in")
    with pytest.raises(ValueError, match=re.escape(message)):
        convert(str(tmp_path / "in"), tmp_path / "out.safetensors", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_nothing_is_overwritten(tmp_path, capsys):
    assert main(["convert", "emoji-64", str(tmp_path)]) == 2
    assert "is already there; give a new name, or remove it first" in capsys.readouterr().err
    assert main(["convert", "emoji-64", str(tmp_path / "vae.safetensors"), "--part", "vae"]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/vae.safetensors: vae\n"


def test_a_network_without_original_names_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no names for unet \(UNet2DModel\)"):
        convert("emoji-32", tmp_path / "out.safetensors")


def test_parts_of_a_single_file_load_by_name(tmp_path):
    convert("emoji-64", tmp_path / "one.safetensors")
    path = str(tmp_path / "one.safetensors")
    unet, expected = (load_unet(model, CPU, torch.float32) for model in (path, "emoji-64"))
    same(weights_of(unet), weights_of(expected))
    assert load_text_encoder(path, CPU, torch.float32).clip.config.hidden_size == 128
    assert load_tokenizer(path).split("a fox") == load_tokenizer("emoji-64").split("a fox")
    with pytest.raises(ValueError, match="has no controlnet, only unet, vae, text_encoder"):
        find_component(path, "controlnet")
    with pytest.raises(ValueError, match="has no tokenizer_2"):
        load_tokenizer(path, "tokenizer_2")


def test_configs_that_do_not_fit_the_file_are_told(tmp_path):
    convert("emoji-64", tmp_path / "one.safetensors")
    with safe_open(tmp_path / "one.safetensors", "pt") as file:
        metadata = file.metadata()
    tensors = load_file(tmp_path / "one.safetensors")
    del tensors["model.diffusion_model.out.2.bias"]
    save_file(tensors, tmp_path / "two.safetensors", metadata)
    with pytest.raises(ValueError, match=r"does not fit the configs in its metadata: unet: missing out\.2\.bias"):  # fmt: skip
        open_checkpoint(str(tmp_path / "two.safetensors"))


def test_a_vocabulary_that_is_no_text_is_named_as_left_out(tiny_stable_diffusion, tmp_path):
    folder = tmp_path / "folder"
    shutil.copytree(tiny_stable_diffusion, folder)
    (folder / "tokenizer" / "spiece.model").write_bytes(b"\x00\xff")
    report = convert(str(folder), tmp_path / "converted")
    assert report.splitlines()[-1] == "left out: tokenizer/spiece.model"


def test_only_clip_has_names_in_a_single_file(tiny_stable_diffusion, tmp_path):
    folder = tmp_path / "folder"
    shutil.copytree(tiny_stable_diffusion, folder)
    path = folder / "text_encoder" / "config.json"
    config = json.loads(path.read_text())
    other = {"architectures": ["BertModel"], "model_type": "bert", "hidden_act": "gelu"}
    path.write_text(json.dumps(config | other))
    message = "there are no names for text_encoder (bert) in an original single file"
    with pytest.raises(ValueError, match=re.escape(message)):
        convert(str(folder), tmp_path / "one.safetensors")
