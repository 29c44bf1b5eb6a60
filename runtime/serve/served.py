"""What a served graph lets its callers set, and how that is told to them."""

from __future__ import annotations

import base64
import binascii
import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from graph import (
    Finding,
    Graph,
    GraphError,
    Input,
    Reference,
    bind,
    calls_of,
    did_you_mean,
    input_schema,
    listed,
    written_inputs,
)

from ..workers import Task

LIMITS = {"steps": 150, "width": 2048, "height": 2048, "count": 8}
LONGEST_TEXT = 10_000
LARGEST_NUMBER = 2**64 - 1  # the largest seed there is
BASE64 = "([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
DATA_URL = f"^data:[^,]*;base64,{BASE64}$"


@dataclass(frozen=True)
class Served:
    """A graph as callers see it: `limits` are the largest numbers, `fixed` is not for them to set.

    Where the graph reads a file that an input names, callers send the file itself, as a data URL;
    no path and no repository comes from them.
    """

    graph: Graph
    fixed: Mapping[str, Any]
    limits: Mapping[str, float]
    uploads: frozenset[str]

    @property
    def open(self) -> list[str]:
        """Name the inputs that callers may set."""
        written = written_inputs(self.graph)
        return [name for name in self.graph.inputs if name not in {*written, *self.fixed}]

    def make_task(self, given: Mapping[str, Any]) -> Task:
        """Check what a caller gave; raises GraphError with everything that is wrong with it."""
        wrong: dict[str, Finding] = {}
        uploads: dict[str, bytes] = {}
        inputs = {**self.fixed}
        for name, value in given.items():
            if name not in self.open:
                wrong[name] = self._closed(name)
            elif problem := self._too_much(name, value):
                wrong[name] = Finding(None, problem)
            elif name in self.uploads and value is not None:
                try:
                    uploads[name] = _decode(value)
                except ValueError as error:
                    wrong[name] = Finding(None, f"input '{name}' {error}")
            else:
                inputs[name] = value
        findings = list(wrong.values())
        left = {name: it for name, it in self.graph.inputs.items() if name not in wrong}
        try:
            graph = replace(self.graph, inputs=left)
            known = {name: value for name, value in inputs.items() if name in left}
            bind(graph, {**known, **dict.fromkeys(uploads, "upload")})
        except GraphError as error:
            findings += error.findings
        if findings:
            raise GraphError(findings)
        return Task(uuid.uuid4().hex, self.graph.name, inputs, uploads)

    def _closed(self, name: str) -> Finding:
        said = f"there is no input '{name}'"
        if name in self.graph.inputs:
            said = f"input '{name}' is not for callers to set"
        help = did_you_mean(name, self.open) or f"callers set {listed(self.open)}"
        return Finding(None, said, help)

    def _too_much(self, name: str, value: Any) -> str | None:
        if isinstance(value, str) and name not in self.uploads and len(value) > LONGEST_TEXT:
            return f"input '{name}' takes at most {LONGEST_TEXT} characters, found {len(value)}"
        most = self.limits.get(name, LARGEST_NUMBER)
        if isinstance(value, int | float) and value > most:
            return f"input '{name}' is at most {most:g} on this server, found {value}"
        if isinstance(value, int | float) and value < -LARGEST_NUMBER:
            return f"input '{name}' is at least {-LARGEST_NUMBER:g} on this server, found {value}"
        return None

    def schema(self) -> dict[str, Any]:
        """Describe what callers may set, as JSON Schema."""
        properties: dict[str, Any] = {}
        for name in self.open:
            entry = self.graph.inputs[name]
            found = input_schema(entry)
            kinds = {each.get("type") for each in (found, *found.get("anyOf", ()))}
            if "string" in kinds:
                found = {**found, "maxLength": LONGEST_TEXT}
            if kinds & {"integer", "number"}:
                most = min(self.limits.get(name, LARGEST_NUMBER), found.get("maximum", math.inf))
                found = {"minimum": -LARGEST_NUMBER, **found, "maximum": most}
            properties[name] = _upload_schema(entry) if name in self.uploads else found
        required = [name for name in self.open if self.graph.inputs[name].required]
        return {
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": False,
        }


def serve_graph(
    graph: Graph, fixed: Mapping[str, Any], limits: Mapping[str, float], uploads: frozenset[str]
) -> Served:
    """Decide what callers may set: all inputs but those that name files, and those that are fixed.

    Raises GraphError for an input that names a file, has no default and is not fixed.
    """
    closed = {
        value.name: None
        for call in calls_of(graph.blocks)
        if call.node.reads is not None
        for value in call.arguments.values()
        if isinstance(value, Reference) and value.name in graph.inputs
    }
    kept: dict[str, Any] = dict(fixed)
    findings: list[Finding] = []
    for name in closed:
        entry = graph.inputs[name]
        if name in kept or name in uploads:
            continue
        if entry.required:
            message = f"'{graph.name}' reads a file that input '{name}' names"
            findings.append(Finding(entry.place, message, f"give {name}=... or --upload {name}"))
        else:
            kept[name] = entry.default
    if findings:
        raise GraphError(findings)
    known = {name: most for name, most in limits.items() if name in graph.inputs}
    return Served(graph, kept, known, uploads & graph.inputs.keys())


def _upload_schema(entry: Input) -> dict[str, Any]:
    url = {"type": "string", "pattern": DATA_URL, "description": "a file as data URL"}
    if entry.required or entry.default is not None:
        return url
    return {"anyOf": [url, {"type": "null"}], "description": "a file as data URL, or none"}


def _decode(value: Any) -> bytes:
    head, comma, body = value.partition(",") if isinstance(value, str) else ("", "", "")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        raise ValueError("takes a file as a data URL: data:image/png;base64,...")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise ValueError(f"is no base64: {error}") from error
