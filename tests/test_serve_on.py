"""The same queue over processes and over Ray: equal pictures, cancelling, workers that die."""

import argparse
import time
from io import BytesIO

import pytest
import torch
from PIL import Image

from graph import load
from runtime import Session
from runtime.cli.shared import prepare
from runtime.cli.worker import make_job, workers_on

pytest.importorskip("starlette", reason="the extra [serve] is not installed")
from starlette.testclient import TestClient

from runtime.serve import LIMITS, Queue, make_app, serve_graph

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
NODES = """
import os, signal, time
from pathlib import Path
from typing import Annotated
from graph import Written, node

@node
def count(steps: int) -> list[int]:
    "Count from one."
    return list(range(1, steps + 1))

@node
def obey(words: str, number: int) -> str:
    "Do as the words say, which are 'rest', and in the second step 'die' or 'wait', and a file's name."
    what, _, file = words.partition(" ")
    if what == "rest":
        time.sleep(0.2)
    if number == 2 and what == "die" and not (file and Path(file).exists()):
        if file:
            Path(file).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    while number == 2 and what == "wait" and not Path(file).exists():
        time.sleep(0.01)
    return words

@node(effect=True)
def write_words_of_a_worker(words: str, path: Annotated[str, Written()]) -> Path:
    "Write words to a file."
    Path(path).write_text(words)
    return Path(path)
"""
GRAPH = """# Words.
inputs: {words: hello, steps: 3, output: words.txt}
nodes:
  numbers: {node: count, steps: $steps}
  said:
    for:   {number: $numbers}
    carry: {text: {from: $words, then: $obeyed}}
    nodes:
      obeyed: {node: obey, words: $text, number: $number}
  saved: {node: write_words_of_a_worker, words: $said.text, path: $output}
"""
LATER = {"prefer": "respond-async"}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Count threads as a Ray worker does: their number may change the last bits of a picture."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=["local:2", "ray"])
def client(request, one_thread, tmp_path_factory):
    if request.param == "ray":
        pytest.importorskip("ray", reason="Ray is not installed")
    folder = tmp_path_factory.mktemp("serve")
    (folder / "own.py").write_text(NODES)
    (folder / "words.yaml").write_text(GRAPH)
    given = argparse.Namespace(
        nodes=[str(folder / "own.py")],
        device="cpu",
        dtype="auto",
        memory="auto",
        compile=False,
        offline=True,
    )
    prepare(given)
    graphs = [load("emoji"), load(folder / "words.yaml")]
    workers = workers_on(request.param, make_job(given, graphs, watched=True, commits={}))
    queue = Queue(2, workers.start, room=2)
    served = {graph.name: serve_graph(graph, {}, LIMITS, frozenset()) for graph in graphs}
    with TestClient(make_app(served, queue, None), base_url="http://127.0.0.1") as client:
        yield client
    queue.close()
    if request.param == "ray":
        import ray

        ray.shutdown()


def ask(client, graph: str, **inputs):
    return client.post(f"/graphs/{graph}", json=inputs)


def begin(client, **inputs) -> str:
    return client.post("/graphs/words", json=inputs, headers=LATER).headers["location"]


def until(client, run: str, reached) -> dict:
    for _ in range(60_000):
        told = client.get(run).json()
        if reached(told):
            return told
        time.sleep(0.01)
    raise AssertionError(told)


def test_pictures_are_those_of_one_session(client, tmp_path):
    session = Session("cpu")
    for seed in range(2):
        session(load("emoji"), steps=2, seed=seed, output=str(tmp_path / "emoji.png"))
        found = ask(client, "emoji", steps=2, seed=seed)
        assert found.status_code == 200, found.text
        assert pixels(found.content) == pixels((tmp_path / "emoji.png").read_bytes())


def pixels(content: bytes) -> bytes:
    return Image.open(BytesIO(content)).tobytes()


def test_a_run_whose_worker_is_killed_is_run_by_another(client, tmp_path):
    killed = tmp_path / "killed"
    run = begin(client, words=f"die {killed}")
    assert until(client, run, lambda told: told["status"] == "done")["step"] == 3
    assert killed.exists()
    assert client.get("/health").json() == {"status": "ok"}


def test_a_run_that_kills_workers_is_an_error_and_the_server_goes_on(client):
    found = ask(client, "words", words="die")
    assert found.status_code == 500
    assert found.json()["error"].startswith("2 workers died of this run, at last: ")
    assert ask(client, "words", words="live").text == "live"


def test_a_run_that_is_cancelled_ends_between_its_steps(client):
    run = begin(client, words="rest", steps=150)
    until(client, run, lambda told: told.get("step", 0) >= 1)
    client.delete(run)
    ended = until(client, run, lambda told: told["status"] in ("cancelled", "done"))
    assert ended["status"] == "cancelled"
    assert 1 <= ended["step"] < 150
    assert ended["files"] == []


def test_a_full_queue_says_so(client, tmp_path):
    until_ready(client)
    words = f"wait {tmp_path / 'enough'}"
    runs = [begin(client, words=words) for _ in range(2)]
    for run in runs:
        until(client, run, lambda told: told["status"] == "running")
    runs += [begin(client, words=words) for _ in range(2)]
    refused = client.post("/graphs/words", json={}, headers=LATER)
    (tmp_path / "enough").touch()
    for run in runs:
        until(client, run, lambda told: told["status"] == "done")
    assert (refused.status_code, refused.json()["error"]) == (429, "2 runs wait already")


def until_ready(client) -> None:
    """Wait until both workers are ready."""
    for _ in range(60_000):
        if "run_graph_workers 2" in client.get("/metrics").text:
            return
        time.sleep(0.01)
    raise AssertionError("the workers are not ready")
