"""An editor's own language server over a graph: it completes, explains and finds mistakes."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from graph import load, shipped_graphs
from runtime.cli import main

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "run-graph-tests"
PACKAGE = "yaml-language-server@1"
HEADER = "# yaml-language-server: $schema=graph.schema.json"


class Editor:
    """Speaks the language server protocol with a server, one message at a time."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.folder, self.number = folder, 0
        self.ask("initialize", processId=None, rootUri=folder.as_uri(), capabilities={})
        self.send({"method": "initialized", "params": {}})
        settings = {
            "yaml": {
                "completion": True,
                "hover": True,
                "validate": True,
                "schemaStore": {"enable": False},
            }
        }
        self.send({"method": "workspace/didChangeConfiguration", "params": {"settings": settings}})

    def send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self.process.stdin
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        assert self.process.stdout
        length = 0
        while line := self.process.stdout.readline().strip():
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        message = json.loads(self.process.stdout.read(length))
        if (
            "method" in message and "id" in message
        ):  # the server asks for settings, which have defaults
            count = len(message["params"].get("items", ())) if message.get("params") else 0
            self.send({"id": message["id"], "result": [{}] * count or None})
        return message

    def ask(self, method: str, **params: Any) -> Any:
        self.number += 1
        self.send({"id": self.number, "method": method, "params": params})
        while True:
            message = self.receive()
            if message.get("id") == self.number and "method" not in message:
                return message["result"]

    def open(self, name: str, text: str) -> list[str]:
        """Open a file and give what the server says is wrong with it."""
        (self.folder / name).write_text(text)
        uri = (self.folder / name).as_uri()
        document = {"uri": uri, "languageId": "yaml", "version": 1, "text": text}
        self.send({"method": "textDocument/didOpen", "params": {"textDocument": document}})
        while True:
            message = self.receive()
            if (
                message.get("method") == "textDocument/publishDiagnostics"
                and message["params"]["uri"] == uri
            ):
                return [found["message"] for found in message["params"]["diagnostics"]]

    def at(self, method: str, name: str, text: str, behind: str) -> Any:
        """Ask about the place right behind some words of a file."""
        before = text[: text.index(behind) + len(behind)].split("\n")
        position = {"line": len(before) - 1, "character": len(before[-1])}
        document = {"uri": (self.folder / name).as_uri()}
        return self.ask(f"textDocument/{method}", textDocument=document, position=position)


@pytest.fixture
def editor(tmp_path: Path) -> Iterator[Editor]:
    node, npm = shutil.which("node"), shutil.which("npm")
    script = CACHE / "node_modules" / "yaml-language-server" / "bin" / "yaml-language-server"
    if not node or not npm:
        pytest.skip("needs node and npm")
    if not script.exists():
        install = [npm, "install", "--silent", "--no-save", "--prefix", str(CACHE), PACKAGE]
        if subprocess.run(install, capture_output=True, timeout=300).returncode:
            pytest.skip("npm cannot install yaml-language-server")
    editor = Editor([node, str(script), "--stdio"], tmp_path)
    yield editor
    editor.process.kill()
    editor.process.communicate()


@pytest.mark.slow
def test_an_editor_completes_explains_and_finds_mistakes(
    editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(editor.folder)
    assert main(["new", "mine"]) == 0
    text = (editor.folder / "mine.yaml").read_text()
    assert editor.open("mine.yaml", text) == []
    hover = editor.at("hover", "mine.yaml", text, "guided: {node: guid")
    assert "classifier-free guidance" in json.dumps(hover)

    wrong = text.replace("scale: $guidance_scale", "sclae: $guidance_scale")
    assert editor.open("wrong.yaml", wrong) == ["Property sclae is not allowed."]
    unknown = text.replace("node: guidance", "node: guidence")
    assert any("guidance" in found for found in editor.open("unknown.yaml", unknown))

    begun = f"{HEADER}\nnodes:\n  a:\n    node: guidance\n    sc\n  b:\n    node: vae_d\n"
    editor.open("begun.yaml", begun)
    arguments = editor.at("completion", "begun.yaml", begun, "    sc")
    assert "scale" in {item["label"] for item in arguments["items"]}
    nodes = editor.at("completion", "begun.yaml", begun, "node: vae_d")
    assert {"vae_decode", "vae_encode"} <= {item["label"] for item in nodes["items"]}


@pytest.mark.parametrize("name", shipped_graphs())
def test_shipped_graphs_name_the_schema(name: str) -> None:
    assert load(name).source.splitlines()[0] == HEADER
