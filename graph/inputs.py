"""What a run sets: from Python values, or from words of a command line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from .blocks import Graph, Input
from .errors import Finding, GraphError, did_you_mean, listed
from .literals import Unfit, validate
from .text import plain, read


def bind(graph: Graph, given: Mapping[str, object]) -> dict[str, Any]:
    """Give every input its value; raises GraphError with each unknown, missing or unfit one."""
    findings = [_unknown(name, graph) for name in given if name not in graph.inputs]
    bound: dict[str, Any] = {}
    for name, entry in graph.inputs.items():
        if name in given:
            try:
                bound[name] = validate(given[name], entry.annotation)
            except Unfit as unfit:
                findings.append(Finding(None, f"input '{name}' {unfit.message}", unfit.help))
        elif entry.required:
            findings.append(Finding(None, f"input '{name}' must be given", entry.help or None))
        else:
            bound[name] = entry.default
    if findings:
        raise GraphError(findings)
    return bound


def parse_inputs(graph: Graph, words: Iterable[str]) -> dict[str, Any]:
    """Read `name=value` words by the types of the inputs; raises GraphError with each bad word."""
    findings: list[Finding] = []
    values: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            findings.append(Finding(None, f"'{word}' sets nothing", "write name=value"))
        elif name not in graph.inputs:
            findings.append(_unknown(name, graph))
        elif name in values:
            findings.append(Finding(None, f"input '{name}' is given twice"))
        else:
            try:
                values[name] = _value(text, graph.inputs[name])
            except Unfit as unfit:
                findings.append(Finding(None, f"input '{name}' {unfit.message}", unfit.help))
    if findings:
        raise GraphError(findings)
    return values


def parse_value(text: str, name: str) -> Any:
    """Read the text behind `name=` as graph files are read; raises GraphError if it is not YAML."""
    return plain(read(text, name))


def _value(text: str, entry: Input) -> Any:
    """Take a list of JSON as one where the input takes that, and text as it stands, else as YAML.

    A list of YAML will not do beside text: `[blurry]` is a prompt with a weight.
    """
    if text.startswith("["):
        with suppress(ValueError, Unfit):
            return validate(json.loads(text), entry.annotation)
    try:
        return validate(text, entry.annotation)
    except Unfit as unfit:
        refused = unfit
    try:
        value = parse_value(text, entry.name)
    except GraphError:
        raise refused from None
    return validate(value, entry.annotation)


def _unknown(name: str, graph: Graph) -> Finding:
    help = did_you_mean(name, graph.inputs) or f"its inputs are {listed(graph.inputs)}"
    return Finding(None, f"'{graph.name}' has no input '{name}'", help)
