"""Other code and other libraries give other keys, so that nothing that is kept is stale."""

import importlib
import sys

import pytest

from graph import Registry, load_text
from runtime import Cache, NodeStarted, Session
from runtime.content import versions
from runtime.content.versions import library_versions


@pytest.fixture
def pack(tmp_path, monkeypatch):
    """Make a package whose node imports a file beside it, another when it runs, and a library."""
    folder = tmp_path / "shades"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "near.py").write_text("import scipy\nNEAR = 2\n")
    (folder / "late.py").write_text("LATE = 1\n")
    (folder / "own.py").write_text(
        "from .near import NEAR\n\n"
        "def times(a: float) -> float:\n    'Multiply.'\n"
        "    from shades.late import LATE\n    return NEAR * LATE * a\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    _forget("shades")


def _forget(package):
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        del sys.modules[name]


def _as_in_a_new_process(folder, cache):
    """Import the node anew, run it, and say whether it was called, and how that is explained."""
    _forget(folder.name)
    importlib.invalidate_caches()
    for file in folder.rglob("*.pyc"):
        file.unlink()
    versions._made_of.cache_clear()
    own, called = Registry(), []
    own.node(importlib.import_module(f"{folder.name}.own").times)
    graph = load_text("nodes: {x: {node: times, a: 5}}\noutputs: {x: $x}", registry=own)
    remembering = Cache(0, cache)
    result = Session("cpu", "float32", called.append, cache=remembering)(graph)["x"]
    calls = [event for event in called if isinstance(event, NodeStarted)]
    return result, len(calls), dict(remembering.explained())["x"]


@pytest.mark.parametrize("name", ["near", "late", "own"])
def test_whatever_file_of_a_custom_node_changes_there_is_no_stale_result(pack, tmp_path, name):
    cache = tmp_path / "cache"
    assert _as_in_a_new_process(pack, cache) == (10, 1, "ran: it did not run before")
    assert _as_in_a_new_process(pack, cache)[:2] == (10, 0)
    file = pack / f"{name}.py"
    file.write_text(
        file.read_text().replace("* a", "* 2 * a").replace("= 2", "= 4").replace("= 1", "= 2")
    )
    result, calls, why = _as_in_a_new_process(pack, cache)
    assert (result, calls, why) == (20, 1, "ran: its code is not as at the last run")


def test_another_version_of_what_a_custom_node_imports_is_another_node(pack, tmp_path, monkeypatch):
    _as_in_a_new_process(pack, tmp_path / "cache")
    monkeypatch.setattr(versions, "version", lambda _: "0.1")
    result, calls, why = _as_in_a_new_process(pack, tmp_path / "cache")
    assert (result, calls, why) == (10, 1, "ran: scipy is not as at the last run")


def test_what_our_nodes_may_call_is_among_the_libraries():
    assert {"torch", "pillow", "opencv-python-headless"} <= library_versions().keys()
    assert "pytest" not in library_versions()
