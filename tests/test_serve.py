"""Graphs over HTTP: what callers may set, the queue, cancelling, refusals."""

import argparse
import base64
import json
import socket
import threading
import time
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

from graph import GraphError, Registry, Written, load_text

pytest.importorskip("starlette", reason="the extra [serve] is not installed")
from starlette.testclient import TestClient

from runtime import Session
from runtime.cli import main, serve
from runtime.serve import LIMITS, Queue, Run, make_app, serve_graph
from runtime.workers import Runner, ThreadWorker

GRAPH = """# Write words that grow.
inputs: {words: hello, steps: 2, source: , output: words.txt}
nodes:
  other:   {node: read_words, path: $source}
  numbers: {node: count, steps: $steps}
  grown:
    for:   {number: $numbers}
    carry: {text: {from: $words, then: $more}}
    nodes:
      more: {node: add, text: $text, other: $other}
  saved:   {node: write_words, words: $grown.text, path: $output}
"""
gate, at_gate = threading.Event(), threading.Event()


def a_graph(text: str = GRAPH):
    registry = Registry()

    @registry.node(reads=lambda path: [Path(path)])
    def read_words(path: str) -> str:
        """Read."""
        return Path(path).read_text()

    @registry.node
    def count(steps: Annotated[int, Field(ge=1)]) -> list[int]:
        """Count."""
        return list(range(steps))

    @registry.node
    def add(text: str, other: str) -> str:
        """Add."""
        if text == "refuse":
            raise ValueError("these words are refused")
        if text == "break":
            raise RuntimeError("broken")
        if text.startswith("wait"):
            at_gate.set()
            gate.wait(120)
        return text + other

    @registry.node(effect=True)
    def write_words(words: str, path: Annotated[str, Written()]) -> Path:
        """Write."""
        Path(path).write_text(words)
        return Path(path)

    return load_text(text, "words", registry)


def a_queue(graph, room: int, batch: int = 1) -> Queue:
    runner = Runner(Session("cpu", "float32"), {"words": graph}, watched=True)
    return Queue(1, lambda number: ThreadWorker(lambda _: runner, number), room, batch)


def wait_for(reached) -> None:
    for _ in range(6000):
        if reached():
            return
        time.sleep(0.02)
    raise AssertionError


@pytest.fixture(scope="module")
def queue():
    made = a_queue(a_graph(), room=2)
    yield made
    gate.set()
    made.close()


@pytest.fixture(scope="module")
def client(queue):
    served = serve_graph(a_graph(), {}, LIMITS, frozenset({"source"}))
    app = make_app({"words": served}, queue, None)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        yield client


def upload(text: str) -> str:
    return "data:text/plain;base64," + base64.b64encode(text.encode()).decode()


def ask(client, headers=None, **inputs):
    return client.post("/graphs/words", json={"source": upload("!"), **inputs}, headers=headers)


def until(client, run: str, *status: str) -> dict:
    for _ in range(6000):
        told = client.get(f"/runs/{run}").json()
        if told["status"] in status:
            return told
        time.sleep(0.02)
    raise AssertionError(told)


def test_a_run_answers_with_its_file(client):
    found = ask(client, words="a", steps=3)
    assert (found.status_code, found.text) == (200, "a!!!")
    assert found.headers["content-type"].startswith("text/plain")


def test_a_whole_number_is_an_integer_however_it_is_written(client):
    body = json.dumps({"source": upload("!"), "words": "a", "steps": 3.0})
    assert client.post("/graphs/words", content=body).text == "a!!!"


def test_or_with_json_where_that_is_accepted(client):
    found = ask(client, words="a", headers={"accept": "application/json"}).json()
    assert found["status"] == "done"
    assert base64.b64decode(found["files"][0]["data"]) == b"a!!"
    assert found["files"][0]["name"] == "words.txt"


def test_or_at_once_with_where_to_look(client):
    asked = ask(client, words="a", headers={"prefer": "respond-async"})
    assert asked.status_code == 202
    with client.stream("GET", f"{asked.headers['location']}/events") as events:
        told = [json.loads(line[6:]) for line in events.iter_lines() if line.startswith("data: ")]
    assert told[-1]["status"] == "done"
    assert told[-1]["files"] == ["words.txt"]
    assert client.get(f"{asked.headers['location']}/files/words.txt").text == "a!!"
    assert client.get(f"{asked.headers['location']}/files/other.txt").status_code == 404


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"wrds": "a"}, "there is no input 'wrds'"),
        ({"output": "/etc/passwd"}, "input 'output' is not for callers to set"),
        ({"source": "/etc/passwd"}, "input 'source' takes a file as a data URL"),
        ({"source": "data:text/plain;base64,%"}, "input 'source' is no base64"),
        ({"steps": 0}, "input 'steps' must be at least 1, found 0"),
        ({"steps": 151}, "input 'steps' is at most 150 on this server, found 151"),
        ({"steps": -(2**65)}, "input 'steps' is at least -1.84467e+19 on this server"),
        ({"words": 3}, "input 'words' takes str, found 3"),
        ({"words": "a" * 10_001}, "input 'words' takes at most 10000 characters, found 10001"),
        ({"words": "refuse"}, "these words are refused"),
    ],
)
def test_what_callers_may_not_set_is_refused(client, inputs, message):
    found = ask(client, **inputs)
    assert found.status_code == 422
    assert message in found.json()["error"]


def test_every_mistake_is_told_at_once(client):
    given = {"wrds": "a", "output": "/etc", "steps": 151, "words": 3, "source": None}
    found = ask(client, **given).json()["findings"]
    assert [(each["message"], each["help"]) for each in found] == [
        ("there is no input 'wrds'", "did you mean 'words'?"),
        ("input 'output' is not for callers to set", "callers set words, steps and source"),
        ("input 'steps' is at most 150 on this server, found 151", None),
        ("input 'words' takes str, found 3", None),
        ("input 'source' takes str, found null", None),
    ]


def test_what_breaks_in_the_graph_is_the_servers(client):
    found = ask(client, words="break")
    assert found.status_code == 500
    assert "RuntimeError: broken" in found.json()["error"]


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"[]", b"null", b"\xff", b'"a"', b"[" * 100_000,
        b'{"steps": NaN}', b'{"steps": 1e999}', b'{"words": "\\ud888"}',
    ],
)  # fmt: skip
def test_a_body_that_is_no_object_is_refused(client, body):
    assert client.post("/graphs/words", content=body).status_code == 400


def test_a_body_that_is_too_large_is_refused(client):
    assert client.post("/graphs/words", content=b" " * (17 << 20)).status_code == 413


def test_an_unknown_graph_or_run_is_not_found(client):
    assert client.post("/graphs/other", json={}).json()["error"] == "the graphs here are words"
    assert client.get("/runs/none").status_code == 404


def test_a_full_queue_says_so_and_what_waits_can_be_cancelled(client, queue):
    gate.clear()
    at_gate.clear()
    later = {"prefer": "respond-async"}
    running = ask(client, words="wait", headers=later).json()["id"]
    assert at_gate.wait(120)
    waiting = [ask(client, words=f"{n}", headers=later).json()["id"] for n in range(2)]
    refused = ask(client, words="too many")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
    assert refused.json()["error"] == "2 runs wait already"
    assert client.delete(f"/runs/{waiting[0]}").json()["status"] == "cancelled"
    client.delete(f"/runs/{running}")
    gate.set()
    assert until(client, running, "cancelled")["step"] == 1  # after the step it was in
    assert until(client, waiting[1], "done")["files"] == ["words.txt"]


def test_waiting_runs_that_differ_per_picture_are_one_run(tmp_path):
    (tmp_path / "source.txt").write_text("!")
    text = GRAPH.replace("words: hello", "prompt: hello").replace("$words", "$prompt")
    fixed = {"source": str(tmp_path / "source.txt")}
    served = serve_graph(a_graph(text), fixed, LIMITS, frozenset())
    queue = a_queue(served.graph, room=6, batch=3)
    gate.clear()
    first = Run(served.make_task({"prompt": "wait"}))
    queue.submit(first)
    wait_for(lambda: first.status == "running")
    asked = [
        {"prompt": "a"}, {"prompt": "b"}, {"prompt": "c", "steps": 1}, {"prompt": "d"},
        {"prompt": "e"}, {"prompt": "refuse"},
    ]  # fmt: skip
    runs = [Run(served.make_task(inputs)) for inputs in asked]
    for run in runs:
        queue.submit(run)
    gate.set()
    wait_for(lambda: all(run.has_ended for run in runs))
    queue.close()
    assert [run.tell().get("batch", 1) for run in runs] == [3, 3, 1, 3, 1, 1]
    assert [run.files.get("words.txt") for run in runs] == [
        b"a!!", b"b!!", b"c!", b"d!!", b"e!!", None,
    ]  # fmt: skip
    assert runs[-1].error == "these words are refused"  # which 'e' had no part in


def test_the_server_tells_its_health_and_counts(client):
    assert client.get("/health").json() == {"status": "ok"}
    assert ask(client, words="a").status_code == 200
    text = client.get("/metrics").text
    assert 'run_graph_runs_total{graph="words",status="done"}' in text
    assert "run_graph_queue_length 0" in text


def test_the_api_is_described(client):
    post = client.get("/openapi.json").json()["paths"]["/graphs/words"]["post"]
    schema = post["requestBody"]["content"]["application/json"]["schema"]
    assert list(schema["properties"]) == ["words", "steps", "source"]
    assert schema["properties"]["steps"]["minimum"] == 1
    assert schema["properties"]["steps"]["maximum"] == 150
    assert schema["required"] == ["source"]
    assert "Write words that grow." in client.get("/").text


def test_pages_of_other_sites_cannot_call(client):
    assert client.get("/health", headers={"host": "evil.example"}).status_code == 403
    assert client.get("/health", headers={"origin": "http://evil.example"}).status_code == 403
    assert client.get("/health", headers={"origin": "http://127.0.0.1:8000"}).status_code == 200


def test_with_a_token_only_its_bearer_may_call(queue):
    served = serve_graph(a_graph(), {}, LIMITS, frozenset({"source"}))
    with TestClient(make_app({"words": served}, queue, "secret")) as client:
        assert client.get("/health").status_code == 200
        assert client.get("/openapi.json").status_code == 401
        wrong = {"authorization": "Bearer Secret"}
        assert client.get("/openapi.json", headers=wrong).status_code == 401
        right = {"authorization": "Bearer secret"}
        assert client.get("/openapi.json", headers=right).status_code == 200


def test_a_port_that_is_taken_is_told(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "emoji", "--port", str(port)]) == 1
    said = f"error: port {port} is taken\n  help: give another with --port\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--port", "99999"), 2, "--port: 99999 is no port\n  help: take one up to 65535"),
        (("--host", "192.0.2.1"), 1, "192.0.2.1, port 8000, cannot be listened at: Cannot assign"),
    ],
)
def test_what_cannot_be_listened_at_is_told(words, code, message, monkeypatch, capsys):
    monkeypatch.setenv("RUN_GRAPH_TOKEN", "secret")
    assert main(["serve", "emoji", *words]) == code
    assert message in capsys.readouterr().err


def test_every_option_of_serve_is_explained(capsys):
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    assert not [action.dest for action in parser._actions if not action.help]
    assert parser.format_help().count("8000") == 1


def test_two_graphs_of_one_name_are_refused(capsys):
    assert main(["serve", "emoji", "seed=1", "emoji", "seed=2"]) == 2
    said = "two graphs are called 'emoji', and would have one endpoint\n  help: rename a file"
    assert said in capsys.readouterr().err


def test_an_input_that_names_a_file_must_be_fixed_or_uploaded():
    with pytest.raises(GraphError) as refused:
        serve_graph(a_graph(), {}, LIMITS, frozenset())
    assert "'words' reads a file that input 'source' names" in str(refused.value)
    assert "help: give source=... or --upload source" in str(refused.value)
    assert "source" not in serve_graph(a_graph(), {"source": "a.txt"}, LIMITS, frozenset()).open
