"""What is remembered is what would be made, and nothing is made that need not be."""

import re
from pathlib import Path

import pytest
import torch

import nodes
from graph import Registry, load, load_text
from runtime import Cache, NodeStarted, Session, StepFinished
from runtime.content.versions import library_versions
from tests.cache_nodes import Watched, registry

CHAIN = """
inputs: {seed: 1, name: a}
nodes:
  first: {node: numbers, seed: $seed}
  second: {node: halves, a: $first}
  denoise:
    for: {i: [1, 2]}
    carry: {x: {from: $second.left, then: $y}}
    nodes: {y: {node: mix, a: $x, b: $second.right, weight: $i}}
  told: {node: tell, a: $denoise.x, name: $name}
outputs: {out: $denoise.x}
"""


def test_a_changed_saver_runs_alone_and_a_changed_seed_runs_all():
    watched = Watched(Cache(10**6))
    watched(CHAIN)
    assert watched.called == ["first", "second", "denoise/y", "denoise/y", "told"]
    watched(CHAIN, name="b")
    assert watched.called == ["told"]
    watched(CHAIN.replace("denoise", "renamed").replace("second", "another"), name="b")
    assert watched.called == ["told"], "no value hangs on what a block is called"
    watched(CHAIN, seed=2)
    assert len(watched.called) == 5


def test_processes_share_a_folder(tmp_path):
    Watched(Cache(0, tmp_path))(CHAIN)
    other = Watched(Cache(0, tmp_path))
    found = other(CHAIN)["out"]
    assert other.called == ["told"]
    assert torch.equal(found, Watched(None)(CHAIN)["out"])
    assert not list(tmp_path.rglob("*.part"))


def test_another_library_finds_nothing_in_the_folder(tmp_path, monkeypatch):
    Watched(Cache(0, tmp_path))(CHAIN)
    versions = library_versions() | {"torch": "1.13"}
    monkeypatch.setattr("runtime.cache.cache.library_versions", lambda: versions)
    cache = Cache(0, tmp_path)
    other = Watched(cache)
    other(CHAIN)
    assert len(other.called) == 5
    why = dict(cache.explained())
    assert why["first"] == "ran: torch is not as at the last run"


@pytest.mark.parametrize(
    "harm", [lambda data: data[:-4], lambda data: data[:-4] + b"\1\2\3\4", lambda _: b""]
)
def test_a_damaged_file_is_made_anew(tmp_path, harm, caplog):
    Watched(Cache(0, tmp_path))(CHAIN)
    for file in tmp_path.rglob("*.safetensors"):
        file.write_bytes(harm(file.read_bytes()))
    other = Watched(Cache(0, tmp_path))
    found = other(CHAIN)["out"]
    assert len(other.called) == 5
    assert torch.equal(found, Watched(None)(CHAIN)["out"])
    assert "is damaged, so it is made anew" in caplog.text
    again = Watched(Cache(0, tmp_path))
    again(CHAIN)
    assert again.called == ["told"]


def test_a_file_that_another_process_deletes_while_it_is_opened_is_made_anew(tmp_path, monkeypatch):
    Watched(Cache(0, tmp_path))(CHAIN)
    opened = torch.UntypedStorage.from_file

    def deleted(file, *arguments, **named):
        Path(file).unlink()
        return opened(file, *arguments, **named)

    monkeypatch.setattr(torch.UntypedStorage, "from_file", deleted)
    other = Watched(Cache(0, tmp_path))
    assert torch.equal(other(CHAIN)["out"], Watched(None)(CHAIN)["out"])
    assert len(other.called) == 5


def test_a_folder_that_cannot_be_written_to_does_not_end_a_run(tmp_path, caplog, monkeypatch):
    cache = Cache(0, tmp_path)
    monkeypatch.setattr(
        Path, "write_bytes", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left"))
    )
    assert torch.equal(Watched(cache)(CHAIN)["out"], Watched(None)(CHAIN)["out"])
    assert "cannot be written: [Errno 28] No space left" in caplog.text


def test_a_file_that_changed_is_read_again_however_it_changed(tmp_path):
    file = tmp_path / "a.txt"
    text = "inputs: {path: }\nnodes: {x: {node: read, path: $path}, y: {node: halves, a: $x}}\noutputs: {out: $y.left}"
    watched = Watched(Cache(10**6, tmp_path / "cache"))
    for number in (1, 2, 3, 3):
        file.write_text(f"{number} 5")
        assert watched(text, path=str(file))["out"].tolist() == [2 * number, 10]
    assert watched.called == []
    file.unlink()
    with pytest.raises(Exception, match="No such file"):
        watched(text, path=str(file))


def test_changed_code_of_a_custom_node_gives_no_stale_result(tmp_path):
    results = []
    for number in (2, 3):
        own = Registry()
        file = tmp_path / "own.py"
        file.write_text(
            f"def times(a: float) -> float:\n    'Multiply.'\n    return {number} * a\n"
        )
        space = {"__name__": "own"}
        exec(compile(file.read_text(), str(file), "exec"), space)
        own.node(space["times"])
        graph = load_text("nodes: {x: {node: times, a: 5}}\noutputs: {x: $x}", registry=own)
        results.append(Session("cpu", cache=Cache(0, tmp_path / "cache"))(graph)["x"])
    assert results == [10, 15]


def test_a_value_that_was_changed_in_place_is_made_anew(caplog):
    watched = Watched(Cache(10**6))
    first = watched(CHAIN)["out"]
    wanted = first.clone()
    first.zero_()
    assert torch.equal(watched(CHAIN)["out"], wanted)
    assert "was changed in place" in caplog.text


def test_a_node_that_spoils_its_input_spoils_no_later_run(caplog):
    text = "inputs: {b: 0}\nnodes: {x: {node: numbers, seed: 1}, y: {node: spoil, a: $x}, z: {node: mix, a: $x, b: $y, weight: $b}}\noutputs: {out: $z}"
    watched = Watched(Cache(10**6))
    for b in (0.0, 1.0, 2.0):
        assert torch.equal(watched(text, b=b)["out"], Watched(None)(text, b=b)["out"])
    assert "'y' changes 'x' in place, which a node must not" in caplog.text


def test_memory_is_bounded_and_the_value_used_least_recently_goes():
    text = "inputs: {seed: 1}\nnodes: {x: {node: numbers, seed: $seed}}\noutputs: {out: $x}"
    cache = Cache(40)  # two values of 16 bytes
    watched = Watched(cache)
    calls = []
    for seed in (1, 2, 1, 3, 1, 2):
        watched(text, seed=seed)
        calls.append(len(watched.called))
        assert cache.memory.bytes <= 40
    assert calls == [1, 1, 0, 1, 0, 1]


def test_what_no_run_uses_for_long_is_let_go():
    text = "inputs: {seed: 1}\nnodes: {x: {node: numbers, seed: 0}, y: {node: numbers, seed: $seed}, z: {node: mix, a: $x, b: $y}}\noutputs: {out: $z}"
    cache = Cache(10**6)
    watched = Watched(cache)
    for seed in range(100):
        watched(text, seed=seed)
    assert watched.called == ["y", "z"], "what every run uses stays"
    assert cache.memory.bytes <= 16 * (2 * 17 + 1)


def test_a_folder_is_bounded(tmp_path):
    text = "inputs: {seed: 1}\nnodes: {x: {node: numbers, seed: $seed}}\noutputs: {out: $x}"
    watched = Watched(Cache(0, tmp_path, folder_bytes=3000))
    for seed in range(30):
        watched(text, seed=seed)
        assert sum(file.stat().st_size for file in tmp_path.rglob("*.safetensors")) <= 3000
    watched(text, seed=29)
    assert watched.called == []


def test_it_is_explained_why_a_block_ran(tmp_path):
    text = CHAIN.replace(
        "outputs:", "  thing: {node: opaque, a: $first}\noutputs: {thing: $thing, "
    ).replace("{out", "out")
    cache = Cache(0, tmp_path)
    watched = Watched(cache)

    def explained(**inputs):
        watched(text, **inputs)
        return dict(cache.explained())

    first = explained()
    assert first["first"] == "ran: it did not run before"
    assert first["thing"] == "ran: it did not run before; object cannot be kept as a file"
    assert first["told"] == "ran: it has an effect"
    second = explained()
    assert second["first"] == "did not run: its value is in the folder"
    assert second["second"] == "did not run: nothing that ran needs it"
    assert second["thing"].startswith("ran: its value was not kept; object cannot")
    third = explained(seed=5)
    assert third["first"] == "ran: `seed` is not as at the last run"
    assert third["second"] == "ran: `a` ('first') is not as at the last run"
    assert third["denoise"] == "ran: 'second' is not as at the last run"


def test_a_file_that_was_replaced_is_given_as_the_reason(tmp_path):
    text = "nodes: {x: {node: read, path: PATH}}\noutputs: {out: $x}"
    file = tmp_path / "a.txt"
    for content in ("1", "2"):
        file.write_text(content)
        cache = Cache(0, tmp_path / "cache")
        Watched(cache)(text.replace("PATH", str(file)))
    assert cache.explained() == [("x", "ran: the file a.txt is not as at the last run")]


def test_an_interrupted_run_keeps_what_it_made():
    cache = Cache(10**6)

    def interrupt(event):
        if isinstance(event, StepFinished):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Session("cpu", "float32", interrupt, cache=cache)(load_text(CHAIN, "graph", registry))
    watched = Watched(cache)
    watched(CHAIN)
    assert watched.called == ["denoise/y", "denoise/y", "told"]


def test_the_text_encoder_is_not_even_loaded_where_its_text_is_in_the_folder(tmp_path):
    assert nodes.__all__

    def run(**inputs):
        called = []
        session = Session(
            "cpu", "float32", lambda event: called.append(event), cache=Cache(0, tmp_path / "cache")
        )
        image = session(load("emoji"), steps=2, output=str(tmp_path / "a.png"), **inputs)["image"]
        return image, [it.call.node.name for it in called if isinstance(it, NodeStarted)]

    run(seed=1)
    image, called = run(seed=2)
    assert not re.search("encoder|tokenize|encode", " ".join(called)), called
    assert "load_unet" in called
    assert torch.equal(
        image,
        Session("cpu", "float32", cache=None)(
            load("emoji"), steps=2, seed=2, output=str(tmp_path / "b.png")
        )["image"],
    )
