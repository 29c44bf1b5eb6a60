"""Checkpoints that are damaged, incomplete, old or somewhere else."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from graph import node_type
from nodes.weights import find_folder, find_weights, load_weights, open_tensors, shipped_checkpoints
from runtime.cli import main
from tests.conftest import weights_of

CPU = torch.device("cpu")


def load_unet(folder):
    import nodes

    assert nodes.__all__
    return node_type("load_unet").function(str(folder), CPU, torch.float32)


@pytest.fixture
def checkpoint(tiny_ddpm, tmp_path):
    folder = tmp_path / "checkpoint"
    shutil.copytree(tiny_ddpm, folder)
    return folder


def change(folder, edit):
    path = folder / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path)


def shrink(tensors):
    tensors["conv_in.bias"] = tensors["conv_in.bias"][:7].contiguous()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda tensors: tensors.pop("conv_in.bias"),
            "does not fit UNet2DModel: missing conv_in.bias",
        ),
        (lambda tensors: tensors.update(extra=torch.zeros(2, 3)), "surplus extra 2×3"),
        (shrink, "conv_in.bias is 7, expected 32"),
    ],
)
def test_weights_that_do_not_fit_are_listed(checkpoint, edit, message):
    change(checkpoint, edit)
    with pytest.raises(ValueError, match="does not fit") as error:
        load_unet(checkpoint)
    assert message in str(error.value)


def test_a_truncated_file_is_refused(checkpoint):
    path = checkpoint / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="is not a whole safetensors file"):
        load_unet(checkpoint)


def split_in_two(folder):
    """Put a file's tensors into two shards and an index; gives the last shard."""
    whole = folder / "diffusion_pytorch_model.safetensors"
    tensors = load_file(whole)
    whole.unlink()
    names = sorted(tensors)
    index = {}
    for number in (0, 1):
        shard = f"diffusion_pytorch_model-0000{number + 1}-of-00002.safetensors"
        save_file({name: tensors[name] for name in names[number::2]}, folder / shard)
        index |= dict.fromkeys(names[number::2], shard)
    path = folder / "diffusion_pytorch_model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": index}))
    return folder / shard


@pytest.mark.parametrize("in_shards", [False, True])
def test_old_names_of_attention_are_understood(checkpoint, in_shards):
    plain = weights_of(load_unet(checkpoint))
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def rename(tensors):
        for name in [name for name in tensors if ".attentions." in name]:
            for new, previous in old.items():
                if f".{new}." in name:
                    tensor = tensors.pop(name)
                    if tensor.ndim == 2:
                        tensor = tensor[:, :, None, None]  # they were 1 × 1 convolutions
                    tensors[name.replace(new, previous)] = tensor

    change(checkpoint, rename)
    if in_shards:
        split_in_two(checkpoint)
    for name, tensor in weights_of(load_unet(checkpoint)).items():
        assert torch.equal(tensor, plain[name]), name


def test_shards_are_one_file(checkpoint):
    plain = weights_of(load_unet(checkpoint))
    last = split_in_two(checkpoint)
    assert all(
        torch.equal(tensor, plain[name])
        for name, tensor in weights_of(load_unet(checkpoint)).items()
    )
    last.unlink()
    with pytest.raises(FileNotFoundError, match="names shards that are not there"):
        load_unet(checkpoint)


def test_a_variant_falls_back_to_the_plain_file(checkpoint, caplog):
    plain = checkpoint / "diffusion_pytorch_model.safetensors"
    assert find_weights(str(checkpoint), "unet", None, "fp16") == [plain]
    said = f"'{checkpoint}' has no variant 'fp16' of unet: its plain files are used"
    assert [record.getMessage() for record in caplog.records] == [said]
    variant = checkpoint / "diffusion_pytorch_model.fp16.safetensors"
    shutil.copy(plain, variant)
    assert find_weights(str(checkpoint), "unet", None, "fp16") == [variant]


def test_what_is_missing_is_named(checkpoint, tmp_path):
    (checkpoint / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no weights for unet; looked for unet/"):
        load_unet(checkpoint)
    (checkpoint / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"has neither unet/config.json nor config.json"):
        load_unet(checkpoint)
    with pytest.raises(FileNotFoundError, match="neither a folder, nor a checkpoint shipped"):
        load_unet(tmp_path / "nowhere" / "at" / "all")


def test_offline_without_a_cache_is_told():
    with pytest.raises(FileNotFoundError, match="the hub cannot be reached"):
        find_weights("nobody/has-this", "unet")


def test_a_misspelt_shipped_checkpoint_is_suggested_first():
    with pytest.raises(FileNotFoundError) as caught:
        find_weights("emoji-46", "unet")
    said = (
        "did you mean 'emoji-64'? 'emoji-46' is not on this machine and the hub cannot be reached"
    )
    assert str(caught.value).startswith(said)
    with pytest.raises(FileNotFoundError, match=r"^'emoji/emoji-46' is not on this machine"):
        find_weights("emoji/emoji-46", "unet")


def cached(folder, cache, repository):
    """Lay a checkpoint out as the hub's cache has it after a download."""
    commit = "0123456789012345678901234567890123456789"
    place = cache / f"models--{repository.replace('/', '--')}"
    shutil.copytree(folder, place / "snapshots" / commit)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit)


def test_a_cached_repository_serves_offline(
    tiny_stable_diffusion, tiny_ddpm, tmp_path, monkeypatch
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    cached(tiny_stable_diffusion, tmp_path / "cache", "someone/stable")
    cached(tiny_ddpm, tmp_path / "cache", "someone/flat")
    assert main(["sd15", "model=someone/stable", "prompt=a cat", "steps=1", "output=a.png"]) == 0
    assert main(["ddpm", "model=someone/flat", "steps=1", "output=b.png"]) == 0
    assert main(["ddpm", "model=someone/other", "steps=1", "output=c.png"]) == 1
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["a.png", "b.png"]


def test_shipped_checkpoints_have_names():
    assert "emoji-64" in shipped_checkpoints()
    assert find_folder("emoji-64") is not None


def test_weights_take_the_precision_that_is_asked_for(tiny_ddpm):
    network = node_type("load_unet").function(str(tiny_ddpm), CPU, torch.bfloat16)
    assert {weight.dtype for weight in network.parameters()} == {torch.bfloat16}
    assert not any(weight.requires_grad for weight in network.parameters())


def test_nothing_is_used_of_a_network_that_does_not_fit(checkpoint):
    change(checkpoint, lambda tensors: tensors.pop("conv_in.bias"))
    with torch.device("meta"):
        network = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match="surplus"):
        load_weights(
            network,
            open_tensors(checkpoint / "diffusion_pytorch_model.safetensors"),
            CPU,
        )
    assert network.weight.is_meta
