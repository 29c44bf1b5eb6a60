"""docs/keeping.md is run: its commands work one after another, and print what stands below them."""

import re
import shlex
from pathlib import Path

import pytest

import nodes
from graph import load
from runtime.cli import main

PAGE = Path(__file__).parent.parent / "docs" / "keeping.md"
assert nodes.__all__


@pytest.mark.slow
def test_the_commands_work_and_say_what_the_page_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    said = ""
    for kind, text in re.findall(r"```(sh|text)\n(.*?)```", PAGE.read_text(), re.DOTALL):
        if kind == "text" and not text.startswith("$"):
            assert all(line in said for line in text.splitlines()), said
            continue
        for line in text.splitlines() if kind == "sh" else ():
            words = shlex.split(line)
            assert words.pop(0) == "run-graph"
            code = main(words)
            said = "".join(capsys.readouterr())
            assert code == (words[0] == "diff"), said
        if "lock" in text:
            Path("emoji.yaml").write_text(load("emoji").source.replace("steps: 20", "steps: 10"))
            assert main(["emoji.yaml", "--lock", "emoji.lock.json"]) == 2
            said = "".join(capsys.readouterr())
