"""`run-graph serve`: graphs as HTTP endpoints."""

import argparse
import contextlib
import errno
import os
import socket
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from graph import Finding, Graph, listed, load, parse_inputs

from ..workers import Runner, ThreadWorker, Worker
from .shared import FAILED, OK, add_machine_options, print_findings, wrong
from .worker import make_job, session_here, workers_on

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take graphs, what callers shall not set, and where to listen."""
    option = parser.add_argument
    option("words", nargs="+", metavar="GRAPH [name=value ...]", help="what is set here is fixed")
    option("--upload", action="append", default=[], metavar="NAME",
           help="an input that names a file: callers send the file")  # fmt: skip
    option("--limit", action="append", default=[], metavar="NAME=MAX",
           help="the largest number "
                "(default: steps=150, width=2048, height=2048, count=8)")  # fmt: skip
    option("--queue", type=int, default=16, metavar="N",
           help="how many runs may wait (default: %(default)s)")  # fmt: skip
    option("--on", default="here", metavar="WHERE",
           help="local:2 (processes), ray or ray://HOST:10001, a GPU for each worker "
                "(default: %(default)s, in this process)")  # fmt: skip
    option("--max-batch-size", type=int, default=1, metavar="N",
           help="so many waiting runs become one, if only prompts and seeds differ "
                "(default: %(default)s)")  # fmt: skip
    option("--host", default="127.0.0.1",
           help="the address to listen at (default: %(default)s, which only this machine "
                "reaches); 0.0.0.0 is all, and needs RUN_GRAPH_TOKEN to be set")  # fmt: skip
    option("--port", type=int, default=8000, help="the port to listen at (default: %(default)s)")
    option("--memory", default="auto", metavar="SIZE",
           help="what weights and tensors may take, as 6GB "
                "(default: what the device has)")  # fmt: skip
    add_machine_options(parser)


def run(given: argparse.Namespace) -> int:
    """Serve until interrupted. Beyond this machine, RUN_GRAPH_TOKEN must hold a token."""
    try:
        import uvicorn

        from ..serve import LIMITS, Queue, make_app, serve_graph
    except ModuleNotFoundError as error:
        message = f"serve: {error.name} is not installed"
        raise wrong(message, "pip install 'run-graph[serve]'") from error
    token = os.environ.get("RUN_GRAPH_TOKEN") or None  # set but empty is none
    if given.host not in LOOPBACK and not token:
        message = f"whoever reaches {given.host} could use this server"
        raise wrong(message, "set RUN_GRAPH_TOKEN, which callers must send")
    if not 0 <= given.port < 1 << 16:
        raise wrong(f"--port: {given.port} is no port", "take one up to 65535")
    limits = LIMITS | dict(map(_limit, given.limit))
    uploads = frozenset(given.upload)
    graphs = {
        graph.name: serve_graph(graph, fixed, limits, uploads)
        for graph, fixed in _graphs(given.words)
    }
    try:
        listener = _listen(given.host, given.port)
    except OSError as error:
        print_findings([_unheard(given, error)], sys.stderr)
        return FAILED
    with listener:
        workers = _workers(given, [served.graph for served in graphs.values()])
        queue = Queue(*workers, given.queue, given.max_batch_size)
        app = make_app(graphs, queue, token)
        log_level = "warning" if token else "info"
        server = uvicorn.Server(uvicorn.Config(app, log_level=log_level))
        address = f"[{given.host}]" if ":" in given.host else given.host
        print(f"http://{address}:{listener.getsockname()[1]} serves {listed(graphs)}", flush=True)
        try:
            with contextlib.suppress(KeyboardInterrupt):
                server.run([listener])
        finally:
            queue.close()
    return OK


def _listen(host: str, port: int) -> socket.socket:
    """Take the port before anything is loaded; raises OSError where that cannot be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048)


def _unheard(given: argparse.Namespace, error: OSError) -> Finding:
    if error.errno == errno.EADDRINUSE:
        return Finding(None, f"port {given.port} is taken", "give another with --port")
    message = f"{given.host}, port {given.port}, cannot be listened at: {error.strerror}"
    return Finding(None, message)


def _workers(
    given: argparse.Namespace, graphs: Sequence[Graph]
) -> tuple[int, Callable[[int], Worker]]:
    """Say how many workers there are, and how one is started."""
    job = make_job(given, graphs, watched=True, commits={})
    if given.on != "here":
        workers = workers_on(given.on, job)
        return workers.count, workers.start
    runner = Runner(session_here(job), {graph.name: graph for graph in graphs}, watched=True)
    return 1, partial(ThreadWorker, lambda _: runner)


def _graphs(words: list[str]) -> list[tuple[Graph, dict[str, Any]]]:
    """Read `GRAPH name=value ... GRAPH name=value ...`."""
    groups: list[list[str]] = []
    for word in words:
        if "=" not in word:
            groups.append([word])
        elif not groups:
            raise wrong(f"'{word}' stands before any graph")
        else:
            groups[-1].append(word)
    graphs = [(load(name), settings) for name, *settings in groups]
    names = [graph.name for graph, _ in graphs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise wrong(
            f"two graphs are called '{twice}', and would have one endpoint", "rename a file"
        )
    return [(graph, parse_inputs(graph, settings)) for graph, settings in graphs]


def _limit(word: str) -> tuple[str, float]:
    name, _, most = word.partition("=")
    try:
        return name, float(most)
    except ValueError as error:
        message = f"--limit: '{word}' does not name an input and its largest number"
        raise wrong(message, "write steps=50") from error
