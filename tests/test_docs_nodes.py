"""docs/nodes.md is run: its node works in its graph, and its table is what the kinds say."""

import re
import shlex
import shutil
from pathlib import Path

from PIL import Image

from graph import kind_of
from nodes import kinds
from runtime.cli import main

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "nodes.md").read_text()


def test_the_node_and_the_commands_work(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(DOCS / "images" / "demo.png", "demo.png")
    for _, name, text in re.findall(r"```(python|yaml) (\S+)\n(.*?)```", PAGE, re.DOTALL):
        Path(name).write_text(text)
    for text in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL):
        for line in text.splitlines():
            words = shlex.split(line)
            assert words.pop(0) == "run-graph"
            assert main(words) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert "vignette: Darken pictures towards their corners." in said
    assert "vignette.yaml: names, types and shapes are right" in said
    with Image.open("demo.png") as before, Image.open("vignette.png") as after:
        middle = (before.width // 2, before.height // 2)
        assert after.size == before.size
        assert after.getpixel((0, 0)) == (0, 0, 0) != before.convert("RGB").getpixel((0, 0))
        assert min(after.getpixel(middle)) >= min(before.convert("RGB").getpixel(middle)) - 1


def test_the_table_is_what_the_kinds_say():
    found = {name: kind for name, value in vars(kinds).items() if (kind := kind_of(value))}
    axes = {it: f"`{it.axes}`".replace("|", r"\|") if it.axes else "any" for it in found.values()}
    rows = [f"| `{name}` | {it.name} | {axes[it]} | {it.help} |" for name, it in found.items()]
    assert len(rows) > 10
    assert all(kind.help for kind in found.values())
    written = [line for line in PAGE.splitlines() if line.startswith("| `")]
    assert written == rows, "\n".join(rows)
