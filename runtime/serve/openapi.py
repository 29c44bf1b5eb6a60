"""The endpoints of a server, in OpenAPI 3.1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from ..workers import Status
from .served import Served

Described = dict[str, Any]
"""What JSON can hold."""


def describe_openapi(graphs: Mapping[str, Served]) -> Described:
    """Describe every endpoint, and what it answers."""
    runs = {
        "/runs/{run}": {
            "get": _of_run("look", "How far a run is.", {"200": _json("the run", "Run")}),
            "delete": _of_run(
                "cancel", "End a run after its present step.", {"202": _json("the run", "Run")}
            ),
        },
        "/runs/{run}/events": {
            "get": _of_run(
                "events",
                "How far a run is, as it goes: server-sent events, a run each.",
                {"200": _other("until the run has ended", "text/event-stream")},
            )
        },
        "/runs/{run}/files/{file}": {
            "get": _of_run("file", "A file that a run wrote.", {"200": _other("the file")}, "file")
        },
    }
    server = {
        "/health": {
            "get": {
                "operationId": "health",
                "summary": "Whether runs are being worked off.",
                "responses": {
                    "200": _json("they are", "Health"),
                    "503": _json("no worker can be started", "Health"),
                },
            }
        },
        "/metrics": {
            "get": {
                "operationId": "metrics",
                "summary": "Numbers for Prometheus.",
                "responses": {"200": _other("in its text format", "text/plain"), **GUARD},
            }
        },
    }
    submits = {f"/graphs/{name}": {"post": _submit(served)} for name, served in graphs.items()}
    return {
        "openapi": "3.1.0",
        "info": {"title": "run-graph", "version": "1"},
        "paths": {**submits, **runs, **server},
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _submit(served: Served) -> Described:
    schema = served.schema()
    return {
        "operationId": served.graph.name.replace("-", "_"),
        "summary": served.graph.doc.split("\n")[0],
        "description": served.graph.doc,
        "parameters": [
            {
                "name": "Prefer",
                "in": "header",
                "schema": {"type": "string", "examples": ["respond-async"]},
            }
        ],
        "requestBody": {
            "required": bool(schema["required"]),
            "content": {"application/json": {"schema": schema}},
        },
        "responses": {
            "200": _other("the picture; JSON where it is accepted, or there are several"),
            "202": _json("with Prefer: respond-async: where to look for the run", "Run"),
            "400": _json("the body is no JSON object", "Problem"),
            "409": _json("the run was cancelled", "Run"),
            "413": _json("the body is too large", "Problem"),
            "422": _json("what the graph does not take, and what would help", "Problem"),
            "429": _json("too many runs wait: Retry-After says how long to wait", "Problem"),
            "500": _json("the run failed: a mistake in the graph, or of the server", "Run"),
            "503": _json("no worker can be started", "Problem"),
            **GUARD,
        },
    }


def _of_run(name: str, summary: str, answers: Described, *more: str) -> Described:
    parameters = [
        {"name": each, "in": "path", "required": True, "schema": {"type": "string"}}
        for each in ("run", *more)
    ]
    missing = {"404": _json("there is none, or the run ended long ago", "Problem")}
    return {
        "operationId": name,
        "summary": summary,
        "parameters": parameters,
        "responses": {**answers, **missing, **GUARD},
    }


def _json(words: str, schema: str) -> Described:
    content = {"schema": {"$ref": f"#/components/schemas/{schema}"}}
    return {"description": words, "content": {"application/json": content}}


def _other(words: str, kind: str = "*/*") -> Described:
    return {"description": words, "content": {kind: {}}}


GUARD = {
    "401": _json("the token is missing or wrong", "Problem"),
    "403": _json("called from another site, or as another host", "Problem"),
}
SCHEMAS: Described = {
    "Problem": {
        "type": "object",
        "properties": {"error": {"type": "string"}, "findings": {"type": "array"}},
        "required": ["error"],
    },
    "Health": {
        "type": "object",
        "properties": {"status": {"enum": ["ok", "dead"]}},
        "required": ["status"],
    },
    "Run": {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "graph": {"type": "string"},
            "status": {"enum": ["queued", "running", *get_args(Status)]},
            "step": {"type": "integer"},
            "steps": {"type": "integer"},
            "error": {"type": "string"},
            "seconds": {"type": "number"},
            "files": {"type": "array"},
            "batch": {"type": "integer", "description": "so many runs were one with it"},
        },
        "required": ["id", "graph", "status"],
    },
}
