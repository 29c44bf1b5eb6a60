"""The same queue over processes and over Ray: equal pictures, cancelling, workers that die."""

import argparse
import os
import signal
import time
from contextlib import suppress
from io import BytesIO

import psutil
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
DEADLY = """
import os, signal
from pathlib import Path
from typing import Annotated
from graph import Written, node

@node(effect=True)
def write_or_die(words: str, path: Annotated[str, Written()]) -> Path:
    "Write words to a file."
    if words == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    Path(path).write_text(words)
    return Path(path)
"""
GRAPH = """# Words.
inputs: {words: hello, output: words.txt}
nodes: {saved: {node: write_or_die, words: $words, path: $output}}
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
    (folder / "deadly.py").write_text(DEADLY)
    (folder / "words.yaml").write_text(GRAPH)
    given = argparse.Namespace(
        nodes=[str(folder / "deadly.py")],
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
    return client.post("/graphs/emoji", json=inputs, headers=LATER).headers["location"]


def until(client, run: str, reached) -> dict:
    for _ in range(6000):
        told = client.get(run).json()
        if reached(told):
            return told
        time.sleep(0.01)
    raise AssertionError(told)


def kill_one_at_work() -> None:
    """Kill the worker that has done most."""
    workers: list[psutil.Process] = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.ZombieProcess):
            words = " ".join(child.cmdline())
            workers += [child] if "spawn_main" in words or "ray::ThreadWorker" in words else []
    before = {worker: sum(worker.cpu_times()[:2]) for worker in workers}
    time.sleep(0.5)
    busiest = max(workers, key=lambda worker: sum(worker.cpu_times()[:2]) - before[worker])
    os.kill(busiest.pid, signal.SIGKILL)


def test_pictures_are_those_of_one_session(client, tmp_path):
    session = Session("cpu")
    for seed in range(2):
        session(load("emoji"), steps=2, seed=seed, output=str(tmp_path / "emoji.png"))
        found = ask(client, "emoji", steps=2, seed=seed)
        assert found.status_code == 200, found.text
        assert pixels(found.content) == pixels((tmp_path / "emoji.png").read_bytes())


def pixels(content: bytes) -> bytes:
    return Image.open(BytesIO(content)).tobytes()


def test_a_run_whose_worker_is_killed_is_run_by_another(client):
    until_ready(client)
    run = begin(client, steps=100, seed=7)
    until(client, run, lambda told: told.get("step", 0) >= 5)
    kill_one_at_work()
    assert until(client, run, lambda told: told["status"] == "done")["step"] == 100
    assert client.get("/health").json() == {"status": "ok"}


def test_a_run_that_kills_workers_is_an_error_and_the_server_goes_on(client):
    found = ask(client, "words", words="die")
    assert found.status_code == 500
    assert found.json()["error"].startswith("2 workers died of this run, at last: ")
    assert ask(client, "words", words="live").text == "live"


def test_a_run_ends_within_a_step_of_being_cancelled(client):
    run = begin(client, steps=150)
    until(client, run, lambda told: told.get("step", 0) >= 5)
    asked = client.delete(run).json()["step"]
    ended = until(client, run, lambda told: told["status"] == "cancelled")
    assert ended["step"] <= asked + 1
    assert ended["files"] == []


def test_a_full_queue_says_so(client):
    until_ready(client)
    runs = [begin(client, steps=150, seed=seed) for seed in range(2)]
    for run in runs:
        until(client, run, lambda told: told["status"] == "running")
    runs += [begin(client, steps=150, seed=seed) for seed in range(2, 4)]
    refused = ask(client, "emoji", steps=1)
    for run in reversed(runs):
        client.delete(run)
        until(client, run, lambda told: told["status"] == "cancelled")
    assert (refused.status_code, refused.json()["error"]) == (429, "2 runs wait already")


def until_ready(client) -> None:
    """Wait until both workers are ready."""
    for _ in range(6000):
        if "run_graph_workers 2" in client.get("/metrics").text:
            return
        time.sleep(0.01)
    raise AssertionError("the workers are not ready")
