"""Original single files: the oracle's conversion gives the tensors that ours started from."""

import json
import re
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from diffusers.loaders import single_file_utils as oracle
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

from nodes.weights.clip_vocabulary import clip_vocabulary, tokenizer_config, with_vocabularies
from nodes.weights.families import known_families, part_names
from nodes.weights.key_names import to_ours
from nodes.weights.single_file import _fitting, recognise
from tests.checkpoints_in_memory import original, read, stored, with_prefix
from tests.published_configs import CONTROLNETS, UNETS, reduced

FILE = Path("x.safetensors")
CLASSES = {"unet": UNet2DConditionModel, "controlnet": ControlNetModel, "vae": AutoencoderKL}
SMALL_VAE = {
    "_class_name": "AutoencoderKL", "block_out_channels": [8, 16, 16, 16], "norm_num_groups": 4,
    "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
}  # fmt: skip
SMALL_TEXT = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4,
    "vocab_size": 100, "max_position_embeddings": 20, "projection_dim": 24,
}  # fmt: skip


def plain(config):
    return {key: value for key, value in config.items() if not key.startswith("_")}


def network(part, config, device="cpu"):
    """Give the oracle's network of a config."""
    torch.manual_seed(0)
    with torch.device(device):
        if part in CLASSES:
            return CLASSES[part](**plain(config))
        projected = "CLIPTextModelWithProjection" in config.get("architectures", ())
        kind = CLIPTextModelWithProjection if projected else CLIPTextModel
        return kind(CLIPTextConfig(**config))


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def there_and_back(part, config):
    """Give the tensors of a random network, and these under their original names."""
    tensors = with_prefix(part, network(part, config).state_dict())
    file = original({part: (config, tensors)})
    bare = stored(
        {re.sub(r"^(model\.diffusion_model|control_model|first_stage_model|cond_stage_model\.(transformer|model))\.", "", name): tensor for name, tensor in read(file).items()}
    )  # fmt: skip
    same(read(to_ours(bare, part_names(part, config))), tensors)
    return tensors, read(file)


@pytest.mark.parametrize("name", [name for name in UNETS if name not in ("kolors", "latent consistency", "tiny sd", "koala 700m")])  # fmt: skip
def test_a_unet_is_what_the_oracle_converts_to(name):
    config = {"class_embed_type": None, "addition_embed_type": None, **reduced(UNETS[name])}
    tensors, file = there_and_back("unet", config)
    expected = oracle.convert_ldm_unet_checkpoint(file, {"num_class_embeds": None, **config})
    same(tensors, expected)


@pytest.mark.parametrize("name", CONTROLNETS)
def test_a_controlnet_is_what_the_oracle_converts_to(name):
    config = {"class_embed_type": None, "addition_embed_type": None, **reduced(CONTROLNETS[name])}
    tensors, file = there_and_back("controlnet", config)
    expected = oracle.convert_controlnet_checkpoint(file, {"num_class_embeds": None, **config})
    beyond = "add_embedding."  # which the oracle does not convert in a ControlNet
    same({key: it for key, it in tensors.items() if not key.startswith(beyond)}, expected)


@pytest.mark.parametrize("levels", [3, 4])
def test_an_autoencoder_is_what_the_oracle_converts_to(levels):
    config = {
        key: value[:levels] if isinstance(value, list) else value
        for key, value in SMALL_VAE.items()
    }
    tensors, file = there_and_back("vae", config)
    attention = file["first_stage_model.encoder.mid.attn_1.q.weight"]
    assert attention.ndim == 4
    same(tensors, oracle.convert_ldm_vae_checkpoint(file, config))


@pytest.mark.parametrize("projected", [False, True])
def test_an_open_clip_text_encoder_is_what_the_oracle_converts_to(projected):
    kind = "CLIPTextModelWithProjection" if projected else "CLIPTextModel"
    width = 32 if projected else 24  # the oracle takes the projection's height for the width
    config = {**SMALL_TEXT, "hidden_act": "gelu", "architectures": [kind], "projection_dim": width}
    tensors, file = there_and_back("text_encoder", config)
    clip = network("text_encoder", config)
    prefixed = {name: tensor.clone() for name, tensor in file.items()}
    if not projected:
        prefixed["cond_stage_model.model.transformer.resblocks.23.ln_1.bias"] = torch.zeros(32)
    if projected:  # which the oracle does not read at Stable Diffusion 2's place
        prefixed = {
            name.replace("cond_stage_model.", "conditioner.embedders.1."): tensor
            for name, tensor in prefixed.items()
        }
    place = "conditioner.embedders.1.model." if projected else "cond_stage_model.model."
    same(tensors, oracle.convert_open_clip_checkpoint(clip, prefixed, place))


def test_a_clip_text_encoder_is_what_the_oracle_converts_to():
    tensors, file = there_and_back("text_encoder", {**SMALL_TEXT, "hidden_act": "quick_gelu"})
    same(tensors, oracle.convert_ldm_clip_checkpoint(file))


COUNTS = {"sd1": 686, "sdxl": 1680, "sdxl-refiner": 1220, "ssd-1b": 944, "controlnet": 340}


def in_original_names(family):
    """Give a family's tensors at full size, without weights."""
    configs = known_families()[family].configs
    return original(
        {part: (dict(config), network(part, config, "meta").state_dict()) for part, config in configs.items()}
    )  # fmt: skip


@pytest.fixture(scope="module")
def files():
    """Every family's file, made once."""
    made = {}

    def make(family):
        if family not in made:
            made[family] = in_original_names(family)
        return made[family]

    return make


FAST = ("sd1", "sd2", "sdxl-refiner", "controlnet-sdxl-small")
EVERY = [
    pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in known_families()
]


@pytest.mark.parametrize("name", EVERY)
def test_a_family_is_recognised_by_names_and_shapes(name, files):
    tensors = dict(files(name))
    family = known_families()[name]
    if family.marker:
        tensors |= stored({family.marker: torch.zeros(4)})
    found = recognise(FILE, tensors, {})
    assert found.families[0] == ("sd2" if name == "sd2-base" else name)
    assert found.components.keys() == family.configs.keys()
    for part, config in family.configs.items():
        expected = with_prefix(part, network(part, config, "meta").state_dict())
        found_shapes = {key: it.shape for key, it in found.components[part].tensors.items()}
        assert found_shapes == {key: tuple(it.shape) for key, it in expected.items()}
        main = part in ("unet", "controlnet")
        assert not main or name not in COUNTS or len(found_shapes) == COUNTS[name]
    for part in ("unet", "controlnet"):
        if part in family.configs:
            there = recognise(FILE, found.components[part].tensors, {})
            assert there.components[part].config == found.components[part].config


def prediction(found):
    return json.loads(found.files["scheduler/scheduler_config.json"])


def test_what_shapes_do_not_say_can_be_said(files):
    tensors = files("sd2")
    assert prediction(recognise(FILE, tensors, {}))["prediction_type"] == "v_prediction"
    assert recognise(FILE, tensors, {}).families == ("sd2", "sd2-base")
    said = recognise(FILE, tensors, {}, family="sd2-base")
    assert prediction(said)["prediction_type"] == "epsilon"
    assert said.components["unet"].config["sample_size"] == 64
    hint = {"modelspec.architecture": "stable-diffusion-v2-512"}
    assert recognise(FILE, tensors, hint).families[0] == "sd2-base"
    other = recognise(FILE, tensors, {"modelspec.prediction_type": "epsilon"})
    assert prediction(other)["prediction_type"] == "epsilon"
    marked = {**files("sd1"), **stored({"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)})}
    found = prediction(recognise(FILE, marked, {}))
    assert (found["prediction_type"], found["rescale_betas_zero_snr"]) == ("v_prediction", True)


def test_tensors_beside_the_networks_are_left_out(files):
    beside = {
        "betas": torch.zeros(3),
        "model_ema.decay": torch.zeros(()),
        "first_stage_model.loss.logvar": torch.zeros(()),
        "cond_stage_model.transformer.text_model.embeddings.position_ids": torch.zeros(1, 77),
    }
    found = recognise(FILE, {**files("sd1"), **stored(beside)}, {})
    assert found.unused[:1] == ("betas",)
    assert found.components.keys() == {"unet", "vae", "text_encoder"}


def test_averaged_weights_serve_where_there_are_no_others(files):
    inside = "model.diffusion_model."
    tensors = {
        f"model_ema.diffusion_model{key.removeprefix(inside).replace('.', '')}": tensor
        for key, tensor in files("sd1").items()
        if key.startswith(inside)
    }
    alone = recognise(FILE, tensors, {})
    assert alone.families[0] == "sd1"
    assert len(alone.components["unet"].tensors) == 686
    assert set(recognise(FILE, {**files("sd1"), **tensors}, {}).unused) == tensors.keys()


def test_a_file_without_all_parts_says_so_in_its_index(files):
    inside = {key: it for key, it in files("sd1").items() if not key.startswith("cond_stage")}
    index = json.loads(recognise(FILE, inside, {}).files["model_index.json"])
    assert index["text_encoder"] == [None, None]
    assert index["unet"] == ["diffusers", "UNet2DConditionModel"]


def test_a_controlnet_is_found_beside_the_model_that_it_was_trained_on(files):
    both = {**files("sd1"), **files("controlnet")}
    assert recognise(FILE, both, {}).families[0] == "sd1"
    assert recognise(FILE, both, {}, part="controlnet").components.keys() == {"controlnet"}


def test_a_file_is_compared_with_all_families_once(files):
    _fitting.cache_clear()
    found = [recognise(FILE, files("sd1"), {}, part=part) for part in (None, "unet", "vae", None)]
    assert {checkpoint.families for checkpoint in found} == {("sd1",)}
    assert _fitting.cache_info().misses == 1


@pytest.mark.parametrize("prefix", ["", "first_stage_model.", "vae."])
def test_an_autoencoder_alone_is_recognised(prefix, files):
    inside = "first_stage_model."
    tensors = {
        key.replace(inside, prefix): it
        for key, it in files("sd1").items()
        if key.startswith(inside)
    }
    found = recognise(FILE, tensors, {})
    assert found.components["vae"].config["scaling_factor"] == 0.18215
    assert list(found.files) == ["vae/config.json"]
    assert "sdxl" in found.families
    said = recognise(FILE, tensors, {}, family="sdxl")
    assert said.components["vae"].config["scaling_factor"] == 0.13025
    bare = found.components["vae"].tensors
    assert recognise(FILE, bare, {}).components.keys() == {"vae"}


def drop(key):
    return lambda tensors: tensors.pop(key)


def swap(key, shape):
    return lambda tensors: tensors.update(stored({key: torch.zeros(shape, device="meta")}))


CONV_IN = "model.diffusion_model.input_blocks.0.0.weight"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (drop(CONV_IN), "x.safetensors is of no known family; the nearest is 'sd1', and against it speaks: unet: missing input_blocks.0.0.weight"),
        (swap(CONV_IN, (320, 6, 3, 3)), "the nearest is 'sd1', and against it speaks: unet: conv_in.weight is 320×6×3×3, expected 320×4×3×3"),
        (swap("model.diffusion_model.extra.weight", (2,)), "unet: surplus extra.weight"),
        (swap("first_stage_model.extra.weight", (2,)), "vae: surplus extra.weight"),
        (swap("lora_unet_x.lora_down.weight", (2, 2)), "x.safetensors is a LoRA, which changes a model and is none; it cannot be read as a checkpoint in one file"),
        (swap("double_blocks.0.img_mod.lin.weight", (2, 2)), "x.safetensors is FLUX; it cannot"),
        (lambda tensors: [tensors.pop(key) for key in list(tensors)[3:]], "x.safetensors is of no known family"),
        (lambda tensors: tensors.clear(), "is of no known family: it holds 0 tensors, none; known are sd1, sd1-inpaint"),
    ],
)  # fmt: skip
def test_what_is_of_no_family_is_refused_by_name(edit, message, files):
    tensors = dict(files("sd1"))
    edit(tensors)
    with pytest.raises(ValueError, match=re.escape(message)):
        recognise(FILE, tensors, {})


def test_a_wrong_family_is_refused(files):
    with pytest.raises(ValueError, match="is not of the family 'sdxl': unet: missing"):
        recognise(FILE, files("sd1"), {}, family="sdxl")
    with pytest.raises(ValueError, match="there is no family 'sd9'; there are sd1"):
        recognise(FILE, files("sd1"), {}, family="sd9")


def test_configs_of_families_are_those_of_published_checkpoints():
    for ours, theirs in {
        "sd1": "stable diffusion 1", "sd2": "stable diffusion 2 v", "sdxl": "sdxl",
        "sdxl-refiner": "sdxl refiner", "x4-upscaler": "x4 upscaler", "ssd-1b": "ssd 1b",
        "sd2-depth": "stable diffusion 2 depth",
    }.items():  # fmt: skip
        config = known_families()[ours].configs["unet"]
        for key, value in UNETS[theirs].items():
            if key != "upcast_attention":  # which changes no picture
                assert config[key] == value, (ours, key)


def test_the_vocabulary_is_clips():
    vocabulary = clip_vocabulary()
    assert len(vocabulary) == len(set(vocabulary.values())) == 49408
    numbers = ["<|startoftext|>", "a</w>", "photo</w>", "of</w>", "cat</w>", "<|endoftext|>", "!"]
    assert [vocabulary[piece] for piece in numbers] == [49406, 320, 1125, 539, 2368, 49407, 0]


@pytest.mark.parametrize(("pad_token", "pad"), [("<|endoftext|>", 49407), ("!", 0)])
def test_the_tokenizer_of_a_family_numbers_words_as_clip_does(pad_token, pad, tmp_path):
    small = {"tokenizer/tokenizer_config.json": json.dumps(tokenizer_config(pad_token))}
    for path, text in with_vocabularies(small).items():
        (tmp_path / path.removeprefix("tokenizer/")).write_text(text, encoding="utf-8")
    tokens = CLIPTokenizer.from_pretrained(tmp_path)("A photo of a cat", padding="max_length")
    assert tokens["input_ids"] == [49406, 320, 1125, 539, 320, 2368, 49407] + [pad] * 70
