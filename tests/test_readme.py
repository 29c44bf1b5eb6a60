"""The README is run: its YAML is the shipped YAML, its code works, its error is what one sees."""

import re
from pathlib import Path

import pytest
from PIL import Image

from runtime.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\S+)(?: (\S+))?\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def block(kind: str, name: str = "") -> str:
    return next(text for found, title, text in BLOCKS if (found, title) == (kind, name))


def patched(text: str, diff: str) -> str:
    """Apply a diff: a line replaces the one taken away before it, or follows the one shown before."""
    shown, taken = "", ""
    for line in diff.splitlines():
        content = f"{line[1:]}\n"
        if line.startswith("-"):
            taken = content
        elif line.startswith("+"):
            anchor = taken or shown
            assert text.count(anchor) == 1, anchor
            text = text.replace(anchor, content if taken else anchor + content)
            taken = ""
        else:
            shown = content
    return text


def test_the_yaml_is_the_shipped_yaml():
    shipped = [path.read_text() for path in (ROOT / "graphs").glob("*.yaml")]
    blocks = [text for kind, _, text in BLOCKS if kind == "yaml"]
    assert len(blocks) == 2
    for text in blocks:
        assert any(text in file for file in shipped), text


@pytest.fixture
def fading(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my_nodes.py").write_text(block("python", "my_nodes.py"))
    graph = patched((ROOT / "graphs" / "sd15.yaml").read_text(), block("diff"))
    Path("fading.yaml").write_text(graph)
    return graph


def test_build_your_own(fading):
    changed = sum(line.startswith(("+", "-")) for line in block("diff").splitlines())
    assert changed == 5
    words = ["model=emoji-64", "prompt=a lion on a green background", "steps=4"]
    assert main(["fading.yaml", "--nodes", "my_nodes.py", *words]) == 0
    with Image.open("sd15.png") as picture:
        faded = picture.tobytes()
    assert main(["sd15", *words]) == 0
    with Image.open("sd15.png") as picture:
        assert picture.tobytes() != faded


def test_the_error_is_what_one_sees(fading, capsys):
    Path("fading.yaml").write_text(fading.replace("scale: $scale}", "sclae: $scale}"))
    assert main(["fading.yaml", "--nodes", "my_nodes.py"]) == 2
    assert block("text") in capsys.readouterr().err


def test_the_python_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(block("python"), names)
    assert names["image"].shape == (1, 3, 64, 64)
    with Image.open("fox.png") as picture:
        assert picture.size == (64, 64)
