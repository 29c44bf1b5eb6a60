"""Downloading for real, from a server on this machine that speaks as much of the hub as is needed."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tiny_ddpm):
    """A hub with one repository, `someone/ddpm`, which remembers what it was asked."""
    asked: list[str] = []
    files = {
        path.relative_to(tiny_ddpm).as_posix(): path
        for path in tiny_ddpm.rglob("*")
        if path.is_file()
    }

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            asked.append(f"{self.command} {self.path}")
            if self.path.startswith("/api/models/someone/ddpm"):
                siblings = [{"rfilename": name} for name in (*files, "README.md")]
                body = {"id": "someone/ddpm", "sha": COMMIT, "siblings": siblings}
                self.answer(200, json.dumps(body).encode(), {"Content-Type": "application/json"})
            elif self.path.startswith(f"/someone/ddpm/resolve/{COMMIT}/"):
                data = files[self.path.partition(f"{COMMIT}/")[2]].read_bytes()
                etag = hashlib.sha256(data).hexdigest()
                self.answer(200, data, {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"'})
            else:
                self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})

        do_HEAD = do_GET

        def answer(self, status, body, headers):
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, format, *arguments):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def run(endpoint: str, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value for name, value in os.environ.items() if name not in ("HF_HUB_OFFLINE", "HF_HUB_CACHE")
    } | {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "PYTHONPATH": str(ROOT)}  # fmt: skip
    command = [sys.executable, "-m", "runtime.cli", "ddpm", "steps=1", "--dtype", "float32", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=home)


@pytest.mark.slow
def test_a_repository_is_downloaded_once_with_one_question(hub, tmp_path):
    endpoint, asked = hub
    first = run(endpoint, tmp_path, "model=someone/ddpm", "output=first.png")
    assert first.returncode == 0, first.stderr
    questions = [line for line in asked if "/api/models" in line]
    fetched = {line.rpartition("/")[2] for line in asked if line.startswith("GET /someone")}
    print(len(asked), "requests:", asked)
    assert len(questions) == 1
    assert fetched == {
        "config.json",
        "scheduler_config.json",
        "diffusion_pytorch_model.safetensors",
    }

    asked.clear()
    second = run(endpoint, tmp_path, "model=someone/ddpm", "output=second.png")
    assert second.returncode == 0, second.stderr
    assert [line for line in asked if "/api/" not in line] == []
    pictures = [Image.open(tmp_path / name).tobytes() for name in ("first.png", "second.png")]
    assert pictures[0] == pictures[1]

    asked.clear()
    offline = run("http://127.0.0.1:9", tmp_path, "model=someone/ddpm", "output=third.png")
    assert offline.returncode == 0, offline.stderr
    assert asked == []


@pytest.mark.slow
def test_a_repository_that_is_not_there_is_told(hub, tmp_path):
    failed = run(hub[0], tmp_path, "model=someone/else")
    assert failed.returncode == 1
    assert (
        "'someone/else' is neither a folder, nor a checkpoint shipped with run-graph"
        in failed.stderr
    )
    assert len(hub[1]) <= 2
    misspelt = run(hub[0], tmp_path, "model=emoji-46")
    assert "did you mean 'emoji-64'? 'emoji-46' is neither a folder, nor" in misspelt.stderr
