"""Node types of installed distributions: under a name of their own, imported when they are named."""

import sys
from pathlib import Path

import pytest

import nodes  # noqa: F401
from graph import GraphError, load_text, node_types
from runtime import Session
from runtime.cli import main

MODULE = """
from graph import node

@node
def stain(amount: float = 0.5) -> float:
    \"\"\"Stain.\"\"\"
    return 2 * amount

@node
def schedule(amount: float) -> float:
    \"\"\"Be called as one of ours is.\"\"\"
    return amount
"""
GRAPH = "nodes: {a: {node: ink.stain, amount: 2}}\noutputs: {a: $a}\n"


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install two packs, of which one cannot be imported."""
    monkeypatch.setattr(node_types(), "own", dict(node_types()))
    monkeypatch.setattr(node_types(), "problems", {})
    monkeypatch.setattr(node_types(), "_asked", set())
    (tmp_path / "ink_nodes.py").write_text(MODULE)
    (tmp_path / "broken_nodes.py").write_text(MODULE + "import nowhere_at_all\n")
    about = tmp_path / "ink-1.2.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: ink\nVersion: 1.2\n")
    entries = "[run_graph.nodes]\nink = ink_nodes\nblot = broken_nodes\n"
    (about / "entry_points.txt").write_text(entries)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("ink_nodes", "broken_nodes"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_a_pack_is_imported_when_a_graph_names_one_of_its_nodes() -> None:
    load_text("nodes: {}\n")
    assert "ink_nodes" not in sys.modules
    assert Session("cpu")(load_text(GRAPH)) == {"a": 4.0}
    assert node_types()["schedule"].module == "nodes.schedule"
    assert node_types()["ink.schedule"].module == "ink_nodes"
    assert "broken_nodes" not in sys.modules


BROKEN = "the pack 'blot' (ink 1.2) cannot be imported: ModuleNotFoundError: No module named 'nowhere_at_all'"
MISSING = {
    "ink.stian": "there is no node 'ink.stian'\n  nodes: {a: {node: ink.stian, amount: 2}}\n                    ^\n  help: did you mean 'ink.stain'?",
    "inc.stain": "there is no node 'inc.stain'\n  nodes: {a: {node: inc.stain, amount: 2}}\n                    ^\n  help: did you mean 'ink'?",
    "salt.stain": "there is no node 'salt.stain'\n  nodes: {a: {node: salt.stain, amount: 2}}\n                    ^\n  help: no pack 'salt' is installed",
    "blot.stain": f"there is no node 'blot.stain': {BROKEN}\n  nodes: {{a: {{node: blot.stain, amount: 2}}}}\n                    ^",
}


@pytest.mark.parametrize("name", MISSING)
def test_what_is_missing_is_told(name: str) -> None:
    with pytest.raises(GraphError) as caught:
        load_text(GRAPH.replace("ink.stain", name), "g.yaml")
    assert str(caught.value) == "g.yaml:1:19: " + MISSING[name]


def test_packs_are_listed_and_a_bad_one_is_isolated(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nodes"]) == 0
    said = capsys.readouterr()
    assert "ink.stain" in said.out
    assert "blot.stain" not in said.out
    assert said.err == f"error: {BROKEN}\n"
    assert main(["nodes", "ink.stain"]) == 0
    assert "ink.stain: Stain." in capsys.readouterr().out
    assert main(["schema"]) == 0
    assert '"node ink.stain"' in capsys.readouterr().out
