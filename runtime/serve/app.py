"""The HTTP side: each graph an endpoint, each run a resource."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import json
import math
import mimetypes
from collections.abc import AsyncIterator, Mapping
from typing import Any, NoReturn, cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from graph import GraphError

from .describe import describe_metrics, describe_page
from .openapi import describe_openapi
from .queue import NoWorkers, Queue, QueueFull, Run
from .served import Served

LARGEST_BODY = 16 << 20
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def make_app(graphs: Mapping[str, Served], queue: Queue, token: str | None) -> ASGIApp:
    """Make the application; with a token, whoever calls must bear it."""
    server = _Server(graphs, queue)
    routes = [
        Route("/", server.page),
        Route("/openapi.json", server.openapi),
        Route("/health", server.health),
        Route("/metrics", server.metrics),
        Route("/graphs/{graph}", server.submit, methods=["POST"]),
        Route("/runs/{run}", server.look, methods=["GET"]),
        Route("/runs/{run}", server.cancel, methods=["DELETE"]),
        Route("/runs/{run}/events", server.events),
        Route("/runs/{run}/files/{file}", server.file),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _refuse})
    return _Guard(app, token)


class _Guard:
    """Lets in who bears the token; without one, only those who call this machine by its own name.

    A page of another site that a browser here has open could otherwise call in its place.
    """

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self.app = app
        self.token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (refusal := self._refusal(Request(scope))) is None:
            await self.app(scope, receive, send)
        else:
            await refusal(scope, receive, send)

    def _refusal(self, request: Request) -> Response | None:
        headers = request.headers
        if self.token is None:
            host = headers.get("host", "").rsplit(":", 1)[0]
            origin = headers.get("origin", f"http://{headers.get('host', '')}")
            if host not in LOOPBACK or origin.split("://", 1)[-1].rsplit(":", 1)[0] not in LOOPBACK:
                return _problem(403, "this server is for its own machine")
            return None
        if request.url.path == "/health":
            return None
        given = headers.get("authorization", "").encode()
        if hmac.compare_digest(given, f"Bearer {self.token}".encode()):
            return None
        return _problem(401, "send the header Authorization: Bearer TOKEN")


class _Change:
    """Wakes coroutines that wait for a run, from the thread that works at it."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.event = asyncio.Event()

    def __call__(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            self.loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self.event.set()
        self.event = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        """Wait for a change, but not longer."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.event.wait(), seconds)


class _Server:
    def __init__(self, graphs: Mapping[str, Served], queue: Queue) -> None:
        self.graphs = graphs
        self.queue = queue
        self.changes: dict[str, _Change] = {}

    async def submit(self, request: Request) -> Response:
        """Take a run: answer with its picture, or at once with where to look for it."""
        served = self.graphs.get(request.path_params["graph"])
        if served is None:
            raise HTTPException(404, f"the graphs here are {', '.join(self.graphs)}")
        try:
            task = served.make_task(_json_object(await _body(request)))
        except GraphError as error:
            found = [{"message": each.message, "help": each.help} for each in error.findings]
            return JSONResponse({"error": str(error), "findings": found}, 422)
        change = _Change()
        run = Run(task, change)
        try:
            self.queue.submit(run)
        except QueueFull:
            message = f"{self.queue.room} runs wait already"
            return _problem(429, message, {"Retry-After": "5"})
        except NoWorkers:
            return _problem(503, "no worker can be started: the log of the server says why")
        self.changes = {id: each for id, each in self.changes.items() if self.queue.find(id)}
        self.changes[task.id] = change
        if "respond-async" in request.headers.get("prefer", ""):
            return JSONResponse(run.tell(), 202, {"Location": f"/runs/{task.id}"})
        while not run.has_ended:
            if await request.is_disconnected():
                self.queue.cancel(run)
                return Response(status_code=499)
            await change.wait(0.2)
        return _result(run, "application/json" in request.headers.get("accept", ""))

    async def look(self, request: Request) -> Response:
        """Tell how a run is doing."""
        return JSONResponse(self._run(request).tell())

    async def cancel(self, request: Request) -> Response:
        """End a run."""
        run = self._run(request)
        self.queue.cancel(run)
        return JSONResponse(run.tell(), 202)

    async def events(self, request: Request) -> Response:
        """Stream how a run is doing, as server-sent events."""
        run = self._run(request)
        return StreamingResponse(self._follow(run), media_type="text/event-stream")

    async def _follow(self, run: Run) -> AsyncIterator[str]:
        last = ""
        while True:
            ended, told = run.has_ended, run.tell()
            if (text := json.dumps(told)) != last:
                yield f"event: {told['status']}\ndata: {text}\n\n"
                last = text
            elif not ended:
                await self.changes[run.task.id].wait(15)
                continue
            if ended:
                return

    async def file(self, request: Request) -> Response:
        """Give a file that a run wrote."""
        run, name = self._run(request), request.path_params["file"]
        if name not in run.files:
            raise HTTPException(404, f"the files of this run are {', '.join(run.files) or 'none'}")
        return _file(run, name)

    async def openapi(self, request: Request) -> Response:  # noqa: ARG002
        """Describe the endpoints."""
        return JSONResponse(describe_openapi(self.graphs))

    async def page(self, request: Request) -> Response:  # noqa: ARG002
        """Show a form for each graph."""
        policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
        policy += "connect-src 'self'; img-src blob: data:"
        headers = {"Content-Security-Policy": policy}
        return Response(describe_page(self.graphs), media_type="text/html", headers=headers)

    async def health(self, request: Request) -> Response:  # noqa: ARG002
        """Say whether runs are being worked off."""
        alive = self.queue.is_alive
        return JSONResponse({"status": "ok" if alive else "dead"}, 200 if alive else 503)

    async def metrics(self, request: Request) -> Response:  # noqa: ARG002
        """Count, for Prometheus."""
        return Response(describe_metrics(self.queue), media_type="text/plain; version=0.0.4")

    def _run(self, request: Request) -> Run:
        run = self.queue.find(request.path_params["run"])
        if run is None:
            raise HTTPException(404, "there is no such run, or it ended long ago")
        return run


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_BODY:
            raise HTTPException(413, f"a body has at most {LARGEST_BODY} bytes")
    return bytes(body)


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body or b"{}", parse_float=_number, parse_constant=_no_number)
        json.dumps(found, ensure_ascii=False).encode()  # which half a surrogate pair is not
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"the body is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise HTTPException(400, "the body must be a JSON object of inputs")
    return cast("dict[str, Any]", found)


def _number(text: str) -> float:
    """Read a number; a whole one is an integer, as JSON Schema has it: 20.0 steps are 20."""
    number = float(text)
    if math.isinf(number):
        _no_number(text)
    return int(number) if number.is_integer() else number


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _result(run: Run, as_json: bool) -> Response:
    if run.status != "done":
        return JSONResponse(run.tell(), {"refused": 422, "cancelled": 409}.get(run.status, 500))
    if len(run.files) == 1 and not as_json:
        return _file(run, next(iter(run.files)))
    files = [
        {"name": name, "type": _type(name), "data": base64.b64encode(content).decode()}
        for name, content in run.files.items()
    ]
    return JSONResponse({**run.tell(), "files": files})


def _file(run: Run, name: str) -> Response:
    headers = {"X-Run": run.task.id, "X-Content-Type-Options": "nosniff"}
    return Response(run.files[name], media_type=_type(name), headers=headers)


def _type(name: str) -> str:
    return mimetypes.guess_type(name)[0] or "application/octet-stream"


def _problem(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": message}, status, headers)


async def _refuse(request: Request, error: Exception) -> Response:  # noqa: ARG001
    problem = cast("HTTPException", error)
    return _problem(problem.status_code, problem.detail, dict(problem.headers or {}))
