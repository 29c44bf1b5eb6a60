"""The format of graph files as a JSON Schema, from which editors complete and explain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import PydanticUserError, TypeAdapter

from .blocks import Input
from .files import shipped_graphs
from .kinds import describe
from .literals import is_writable
from .node import NodeType, Parameter, Registry, registry

_REFERENCE = {
    "type": "string",
    "pattern": r"^\$[A-Za-z_]",
    "description": "what an input or another block gives: $name or $name.field",
}
_VALUE = {"description": "a literal, or $name for what an input or another block gives"}
_WHEN = {
    "when": {"$ref": "#/definitions/reference", "description": "run this only where it holds"},
    "else": {**_VALUE, "description": "the value where `when` does not hold"},
}
_BLOCKS = {
    "type": "object",
    "additionalProperties": {"$ref": "#/definitions/block"},
    "description": "the blocks by name, in any order",
}


def graph_schema(registry: Registry = registry) -> dict[str, Any]:
    """Describe graph files with every registered node type, as JSON Schema draft 7."""
    types = dict(sorted(registry.types.items()))
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "a run-graph graph",
        "type": "object",
        "properties": {
            "inputs": {
                "type": ["object", "null"],
                "description": "what a run may set: name and default; no default: must be given",
            },
            "nodes": _BLOCKS,
            "outputs": {
                "type": ["object", "null"],
                "description": "what a run gives, by name",
                "additionalProperties": {"$ref": "#/definitions/reference"},
            },
        },
        "required": ["nodes"],
        "additionalProperties": False,
        "definitions": {
            "reference": _REFERENCE,
            "block": _block(types),
            "loop": _loop(),
            **{f"node {name}": _call(kind) for name, kind in types.items()},
        },
    }


def input_schema(entry: Input) -> dict[str, Any]:
    """Describe what an input of a graph takes, as JSON Schema; its default included."""
    found = _plain(entry.annotation)
    words = [describe(entry.annotation), entry.help]
    found = {**found, "description": "; ".join(word for word in words if word)}
    return found if entry.required else {**found, "default": entry.default}


def _block(types: Mapping[str, NodeType]) -> dict[str, Any]:
    """Choose by the word that a block has; a plain enum, so that a wrong type lists all of them."""
    chosen = [
        {
            "if": {"properties": {"node": {"const": name}}, "required": ["node"]},
            "then": {"$ref": f"#/definitions/node {name}"},
        }
        for name in types
    ]
    return {
        "type": "object",
        "properties": {
            "node": {
                "enum": list(types),
                "description": "the node type: this block is one call of it",
                "markdownEnumDescriptions": [kind.doc for kind in types.values()],
            },
            "graph": {
                "type": "string",
                "examples": list(shipped_graphs()),
                "description": "another graph, by file or name: its inputs are the arguments here",
            },
        },
        "allOf": [
            *chosen,
            {"if": {"required": ["for"]}, "then": {"$ref": "#/definitions/loop"}},
        ],
        "anyOf": [{"required": [word]} for word in ("node", "graph", "for")],
    }


def _loop() -> dict[str, Any]:
    by_name = {"type": "object", "additionalProperties": _VALUE}
    carry = {
        "type": "object",
        "properties": {
            "from": {**_VALUE, "description": "its value at the first step"},
            "then": {**_VALUE, "description": "its value at the next step"},
        },
        "required": ["from", "then"],
        "additionalProperties": False,
    }
    return {
        "description": "a loop: runs its nodes once for every item of its sequences",
        "properties": {
            "for": {**by_name, "description": "the sequences, walked together, by the item's name"},
            "carry": {
                "type": "object",
                "additionalProperties": carry,
                "description": "values handed from one step to the next",
            },
            "nodes": _BLOCKS,
            "collect": {**by_name, "description": "values to keep of every step, as lists"},
            "until": {"$ref": "#/definitions/reference", "description": "ends the loop early"},
        },
        "required": ["for", "nodes"],
        "additionalProperties": False,
    }


def _call(kind: NodeType) -> dict[str, Any]:
    return {
        "description": kind.doc,
        "markdownDescription": kind.doc,
        "properties": {
            "node": {"const": kind.name, "markdownDescription": kind.doc},
            **{name: _port(parameter) for name, parameter in kind.parameters.items()},
            **_WHEN,
        },
        "required": ["node", *(p.name for p in kind.parameters.values() if p.required)],
        "additionalProperties": False,
    }


def _port(parameter: Parameter) -> dict[str, Any]:
    words = [describe(parameter.annotation), parameter.help]
    if parameter.ambient:
        words.append("given by the machine")
    elif not parameter.required:
        words.append(f"default {parameter.default!r}")
    described = {"description": "; ".join(word for word in words if word)}
    reference = {"$ref": "#/definitions/reference"}
    literal = {"type": "string"} if parameter.ambient else _literal(parameter.annotation)
    if literal is None:
        return {**described, **reference}
    return {**described, "anyOf": [literal, reference]}


def _literal(annotation: Any) -> dict[str, Any] | None:
    """Describe what a file may write for a parameter; None where it can only be wired."""
    return _open(_plain(annotation)) if is_writable(annotation) else None


def _plain(annotation: Any) -> dict[str, Any]:
    try:
        found = TypeAdapter(annotation).json_schema()
    except PydanticUserError:  # a type that JSON has no words for; loading the graph tells
        return {}
    found.pop("title", None)
    return {} if "$defs" in found else found


def _open(schema: dict[str, Any]) -> dict[str, Any]:
    """Let the items of a list be references, too."""
    if schema.get("type") == "array" and isinstance(schema.get("items"), dict):
        return {
            **schema,
            "items": {"anyOf": [schema["items"], {"$ref": "#/definitions/reference"}]},
        }
    if "anyOf" in schema:
        return {**schema, "anyOf": [_open(each) for each in schema["anyOf"]]}
    return schema
