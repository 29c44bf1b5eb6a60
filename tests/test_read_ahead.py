"""Weights are asked of the disk before they are read: which bytes, when, and by whom not."""

import os
from pathlib import Path
from threading import enumerate as threads

import pytest
import torch

from graph import node_type
from nodes import load
from nodes.weights import StoredTensor, open_tensors, page_cache
from runtime.cli import main

PIECE = page_cache.PIECE
on_linux = pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="only Linux is asked")


def tensor(file, *span):
    return StoredTensor(Path(file), (1,), torch.float32, lambda: torch.zeros(1), span=range(*span))


def finish():
    for thread in threads():
        if thread.name == "reading ahead":
            thread.join()


@pytest.fixture
def asked(monkeypatch):
    found = []
    monkeypatch.setattr(page_cache, "bring", lambda file, pieces: found.append((file, pieces)))
    return found


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(bytes(3 * PIECE + 5))
    return path


def load_unet(folder, device="cpu"):
    return node_type("load_unet").function(str(folder), torch.device(device), torch.float32)


def test_span_is_where_a_tensor_lies(tiny_ddpm):
    (path,) = tiny_ddpm.glob("*.safetensors")
    content = path.read_bytes()
    for stored in open_tensors(path).values():
        assert content[stored.span.start : stored.span.stop] == stored.read().numpy().tobytes()


def test_pieces_are_in_order_and_each_once():
    tensors = [
        tensor("b", PIECE - 1, PIECE + 1),
        tensor("a", 5 * PIECE, 6 * PIECE),
        tensor("a", 7, 9),
        tensor("a", 9, 11),
        tensor("pickle", 0),
    ]
    assert page_cache.pieces_of(tensors) == {Path("a"): [0, 5], Path("b"): [0, 1]}


@on_linux
def test_only_what_is_not_in_the_cache_is_asked_for(file, monkeypatch):
    asked = []

    def probe(_number, _buffers, offset, flags):
        assert flags == os.RWF_NOWAIT
        if offset // PIECE != 1:
            raise BlockingIOError
        return 1

    monkeypatch.setattr(os, "preadv", probe)
    monkeypatch.setattr(os, "posix_fadvise", lambda _, *what: asked.append(what))
    page_cache.bring(file, [0, 1, 3])
    wanted = os.POSIX_FADV_WILLNEED
    assert asked == [(0, PIECE, wanted), (3 * PIECE, PIECE, wanted)]


@on_linux
def test_where_some_pieces_are_in_the_cache_the_others_are_not_probed(file, monkeypatch):
    probed = []
    monkeypatch.setattr(page_cache, "SOME", 2)
    monkeypatch.setattr(os, "preadv", lambda *given: probed.append(given[2]) or 1)
    page_cache.bring(file, [0, 1, 3])
    # Of a piece it is the last byte.
    assert probed == [PIECE - 1, 3 * PIECE + 4]


@on_linux
def test_a_network_asks_for_all_its_bytes_before_it_is_built(tiny_ddpm, asked, monkeypatch):
    (path,) = tiny_ddpm.glob("*.safetensors")
    asked_before = []
    build = load.build_network

    def noted(*given):
        finish()
        asked_before.extend(asked)
        return build(*given)

    monkeypatch.setattr(load, "build_network", noted)
    load_unet(tiny_ddpm)
    assert asked_before == [(path, list(range(-(-path.stat().st_size // PIECE))))]


def test_what_reads_no_weights_asks_for_none(tiny_ddpm, asked, capsys):
    load_unet(tiny_ddpm, "meta")
    assert main(["inspect", str(tiny_ddpm)]) == 0
    finish()
    assert asked == []
    assert capsys.readouterr().out


@on_linux
def test_more_than_half_of_the_memory_is_not_asked_for(asked, monkeypatch):
    monkeypatch.setattr(page_cache, "_memory", lambda: 4 * PIECE)
    page_cache.read_ahead([tensor("a", 0, 3 * PIECE)])
    finish()
    assert asked == []
    page_cache.read_ahead([tensor("a", 0, 2 * PIECE)])
    finish()
    assert asked == [(Path("a"), [0, 1])]


def test_another_system_is_not_asked(asked, monkeypatch):
    monkeypatch.delattr(os, "RWF_NOWAIT", raising=False)
    page_cache.read_ahead([tensor("a", 0, PIECE)])
    finish()
    assert asked == []


@on_linux
def test_a_file_that_is_gone_is_left_to_who_reads_it(tmp_path):
    page_cache.read_ahead([tensor(tmp_path / "gone", 0, PIECE)])
    finish()  # an exception in a thread fails a test
