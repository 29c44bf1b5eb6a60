"""What a value came from: files, known by their content without slowing the run that reads them."""

import gc
import hashlib
import os
from pathlib import Path

import pytest
import torch
from PIL import Image as Picture

from graph import Source, came_from, digest_in_background, node_type, sources, sources_of
from nodes.image import load_image
from nodes.load import load_scheduler_config, load_unet
from nodes.text import load_text_encoder, load_tokenizer
from tests.conftest import EMOJI

CPU = torch.device("cpu")


def names(value: object) -> list[str]:
    return [source.path.name for source in sources_of(value)]


def test_what_is_loaded_knows_its_files(tmp_path):
    unet = load_unet(str(EMOJI), CPU, torch.float32)
    assert names(unet) == [
        "config.json",
        "diffusion_pytorch_model.safetensors",
        "scheduler_config.json",
    ]
    encoder = load_text_encoder("emoji-64", CPU, torch.float32)
    assert names(encoder) == ["config.json", "model.safetensors"]
    assert "tokenizer_config.json" in names(load_tokenizer("emoji-64"))
    assert names(load_scheduler_config("emoji-64")) == ["scheduler_config.json"]
    Picture.new("RGB", (8, 8)).save(tmp_path / "a.png")
    assert names(load_image(str(tmp_path / "a.png"))) == ["a.png"]
    assert names((unet, [unet, encoder])) == [*names(unet), *names(encoder)]
    assert names(unet.state_dict()) == []
    weights = sources_of(unet)[1]
    assert weights.digest() == hashlib.sha256(weights.path.read_bytes()).hexdigest()


def test_a_value_that_is_gone_leaves_no_note(tmp_path):
    before = len(sources._sources)
    value = came_from(torch.zeros(1), Source.of(EMOJI / "model_index.json"))
    came_from(value, EMOJI / "model_index.json")
    assert len(sources._sources) == before + 1
    assert len(sources_of(value)) == 1
    del value
    gc.collect()
    assert len(sources._sources) == before


def test_a_file_that_changed_is_told(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"before")
    source = Source.of(file)
    assert source.is_unchanged()
    state = file.stat()
    file.write_bytes(b"after!")
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))  # as if nothing had happened
    assert not source.is_unchanged()
    with pytest.raises(ValueError, match="file has changed since it was loaded"):
        source.digest()
    file.unlink()
    assert not source.is_unchanged()


def test_a_large_file_is_hashed_once_for_all_processes(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sources, "WORTH_A_NOTE", 10)
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(b"123")
    large.write_bytes(b"1234567890")
    digest_in_background([Source.of(small), Source.of(large)])
    expected = hashlib.sha256(b"1234567890").hexdigest()
    assert Source.of(small).digest() == hashlib.sha256(b"123").hexdigest()
    assert Source.of(large).digest() == expected
    (note,) = (tmp_path / "cache" / "run-graph" / "digests").iterdir()
    assert note.read_text() == expected
    sources._digests.clear()  # as in another process
    monkeypatch.setattr(hashlib, "file_digest", None)
    assert Source.of(large).digest() == expected


def test_a_file_of_the_hubs_cache_knows_its_repository_and_commit(tmp_path):
    file = tmp_path / "models--some--net" / "snapshots" / "0123abc" / "unet" / "config.json"
    file.parent.mkdir(parents=True)
    file.write_text("{}")
    found = Source.of(file)
    assert (found.repository, found.commit) == ("some/net", "0123abc")
    assert Source.of(Path(__file__)).repository is None


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        (
            "load_unet",
            {"model": "emoji-64", "subfolder": "unet", "revision": None, "variant": None},
        ),
        ("load_vae", {"model": "emoji-64", "subfolder": "vae", "revision": None, "variant": None}),
        ("load_tokenizer", {"model": "emoji-64", "subfolder": "tokenizer", "revision": None}),
        (
            "load_scheduler_config",
            {"model": "emoji-32", "subfolder": "scheduler", "revision": None},
        ),
    ],
)
def test_what_a_node_says_that_it_would_read_is_what_it_reads(name, arguments):
    kind = node_type(name)
    machine = {"device": CPU, "dtype": torch.float32}
    given = {key: machine[key] for key in machine if key in kind.parameters}
    found = sources_of(kind.function(**arguments, **given))
    assert sorted(source.path for source in found) == sorted(
        path.absolute() for path in kind.reads(**arguments)
    )
