"""Every damaged file of a checkpoint ends in one clear error, and nothing of it is used."""

import hashlib
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from nodes.load import load_unet
from nodes.weights import find_weights
from tests.conftest import weights_of

CPU = torch.device("cpu")
WEIGHTS, CONFIG = "diffusion_pytorch_model.safetensors", "config.json"


@pytest.fixture
def checkpoint(tiny_ddpm, tmp_path):
    folder = tmp_path / "checkpoint"
    shutil.copytree(tiny_ddpm, folder)
    return folder


def load(folder, **options):
    return load_unet(str(folder), CPU, torch.float32, **options)


class Malicious:
    def __reduce__(self):
        return (open, ("was_run", "w"))


def as_pickle(value):
    def damage(folder):
        (folder / WEIGHTS).unlink()
        torch.save(value, folder / "diffusion_pytorch_model.bin")

    return damage


def as_text(words):
    def damage(folder):
        (folder / WEIGHTS).unlink()
        (folder / "diffusion_pytorch_model.bin").write_text(words)

    return damage


def rewrite(name, change):
    def damage(folder):
        path = folder / name
        path.write_bytes(change(path.read_bytes()) if callable(change) else change)

    return damage


def integers(folder):
    tensors = load_file(folder / WEIGHTS)
    tensors["conv_in.bias"] = tensors["conv_in.bias"].to(torch.int32)
    save_file(tensors, folder / WEIGHTS)


def bad_index(folder):
    (folder / WEIGHTS).unlink()
    (folder / f"{WEIGHTS}.index.json").write_text('{"weights": {}}')


def other_family(folder):
    config = json.loads((folder / CONFIG).read_text())
    config |= {"_class_name": "UNet2DConditionModel", "cross_attention_dim": 768}
    (folder / CONFIG).write_text(json.dumps(config))


DAMAGED = {
    "truncated header": (rewrite(WEIGHTS, lambda data: data[:100]), "is not a whole safetensors file"),
    "truncated data": (rewrite(WEIGHTS, lambda data: data[:-8]), "is not a whole safetensors file"),
    "an empty file": (rewrite(WEIGHTS, b""), "is not a whole safetensors file"),
    "a header that is no JSON": (
        rewrite(WEIGHTS, lambda data: data[:8] + b"!" + data[9:]), "is not a whole safetensors file",
    ),
    "a header of absurd length": (
        rewrite(WEIGHTS, lambda data: b"\xff" * 8 + data[8:]), "is not a whole safetensors file",
    ),
    "a pointer of git": (
        rewrite(WEIGHTS, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        "points to a file that was not downloaded: run `git lfs pull` in its folder",
    ),
    "integers": (integers, "conv_in.bias holds int32, expected weights"),
    "a config that is no JSON": (rewrite(CONFIG, lambda data: data[:40]), "config.json is no JSON: "),
    "a config that is a list": (rewrite(CONFIG, b"[1]"), "config.json holds no config, but list"),
    "a config of another family": (other_family, "config of UNet2DConditionModel: "),
    "an index that is none": (bad_index, "is no index of shards: 'weight_map'"),
    "a pickle with code in it": (
        as_pickle({"a": Malicious()}),
        r"is a pickle that wants to run code, so it was not opened \(_?io\.open\); look for a safetensors file of "
        "the same weights, or convert it where you trust its author$",
    ),
    "words": (as_text("words that are no pickle " * 9), "is not a whole file of tensors: "),
    "other words": (as_text("<!DOCTYPE html>" * 9), "is not a whole file of tensors: "),
    "a pickle without tensors": (as_pickle([1, 2]), "holds no tensors by name, but list"),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "message"), DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_checkpoint_is_one_clear_error(
    damage, message, checkpoint, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    damage(checkpoint)
    with pytest.raises(ValueError, match=message):
        load(checkpoint)
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize("old", [False, True], ids=["zip", "before 2020"])
@pytest.mark.parametrize("nested", [False, True], ids=["bare", "in state_dict"])
def test_a_pickle_of_tensors_alone_is_loaded(old, nested, checkpoint):
    expected = weights_of(load(checkpoint))
    tensors = load_file(checkpoint / WEIGHTS)
    (checkpoint / WEIGHTS).unlink()
    value = {"state_dict": tensors, "epoch": 3} if nested else tensors
    torch.save(
        value, checkpoint / "diffusion_pytorch_model.bin", _use_new_zipfile_serialization=not old
    )
    found = weights_of(load(checkpoint))
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_a_safetensors_file_may_be_called_as_a_pickle(checkpoint):
    expected = weights_of(load(checkpoint))
    (checkpoint / WEIGHTS).rename(checkpoint / "diffusion_pytorch_model.bin")
    found = weights_of(load(checkpoint))
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_a_truncated_pickle_is_refused(checkpoint):
    tensors = load_file(checkpoint / WEIGHTS)
    (checkpoint / WEIGHTS).unlink()
    path = checkpoint / "diffusion_pytorch_model.bin"
    torch.save(tensors, path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="is not a whole file of tensors"):
        load(checkpoint)


def test_the_oldest_names_are_understood(checkpoint):
    expected = weights_of(load(checkpoint))
    tensors = load_file(checkpoint / WEIGHTS)
    old = {"mid_block": "mid", "down_blocks": "downsample_blocks", "up_blocks": "upsample_blocks"}
    renamed = {}
    for name, tensor in tensors.items():
        first, _, rest = name.partition(".")
        renamed[f"{old.get(first, first)}.{rest}"] = tensor
        if ".downsamplers.0.conv." in name:  # the same layer, under a second name
            renamed[name.replace(".conv.", ".op.")] = tensor.clone()
    save_file(renamed, checkpoint / WEIGHTS)
    found = weights_of(load(checkpoint))
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize(
    "index",
    [
        "diffusion_pytorch_model.safetensors.index.fp16.json",
        "diffusion_pytorch_model.fp16.safetensors.index.json",
    ],
)
@pytest.mark.parametrize(
    "shard",
    [
        "diffusion_pytorch_model.fp16-0000{}-of-00002.safetensors",
        "diffusion_pytorch_model-0000{}-of-00002.fp16.safetensors",
    ],
)
def test_shards_of_a_variant_have_a_new_and_an_old_spelling(index, shard, checkpoint):
    expected = weights_of(load(checkpoint))
    tensors = load_file(checkpoint / WEIGHTS)
    places = {name: shard.format(1 + number % 2) for number, name in enumerate(tensors)}
    for place in set(places.values()):
        save_file(
            {name: tensors[name] for name in tensors if places[name] == place}, checkpoint / place
        )
    (checkpoint / index).write_text(json.dumps({"weight_map": places}))
    (checkpoint / WEIGHTS).unlink()
    assert len(find_weights(str(checkpoint), "unet", None, "fp16")) == 2
    found = weights_of(load(checkpoint, variant="fp16"))
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_a_pinned_file_is_held_to_its_digest(checkpoint):
    pin = hashlib.sha256((checkpoint / WEIGHTS).read_bytes()).hexdigest()
    load(checkpoint, sha256=pin)
    load(checkpoint, sha256=[pin.upper()])
    data = bytearray((checkpoint / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (checkpoint / WEIGHTS).write_bytes(data)
    with pytest.raises(
        ValueError, match=f"is not the file that the graph pins: expected SHA-256 {pin}, found"
    ):
        load(checkpoint, sha256=pin)
    with pytest.raises(ValueError, match="`sha256` lists 2 files, and there are 1"):
        load(checkpoint, sha256=[pin, pin])
