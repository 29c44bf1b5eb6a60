"""Types: whether what flows along every edge may flow there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Optional, Union, cast

from .blocks import Block, Call, Carry, ListOf, Literal, Loop, Reference, Value
from .errors import Finding, did_you_mean, listed
from .kinds import (
    Bindings,
    base_of,
    describe,
    feeds,
    fields_of,
    item_type,
    kind_of,
    substitute,
)
from .node import NodeType, Parameter
from .opens import Demand, Open, fit, item_annotation
from .order import in_order

_REFERENCE = re.compile(r"[\"']?(\$[A-Za-z0-9_.]+)")


@dataclass
class Edges:
    """What is known of the types of a graph so far, by name, and what is wrong with them."""

    nodes: Mapping[str, NodeType]
    findings: list[Finding]
    types: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass
class Port:
    """Where a value flows: its name, what it takes, and what the call's TypeVars stand for."""

    name: str
    annotation: Any
    bindings: Bindings = field(default_factory=Bindings)
    bound_by: dict[Any, str] = field(default_factory=dict[Any, str])
    help: str = ""


def type_blocks(blocks: Sequence[Block], edges: Edges) -> tuple[Block, ...]:
    """Order blocks, check what flows into each and learn what comes out; validate literals."""
    typed: list[Block] = []
    for block in in_order(blocks, edges.findings):
        if isinstance(block, Call):
            done = _call(block, edges)
            edges.types[block.name] = done.result
        else:
            done = _loop(block, edges)
        typed.append(done)
    return tuple(typed)


def type_of(value: Value, edges: Edges) -> Any:
    """Find the annotation of a value, or the Open that stands for it; report a missing field."""
    if isinstance(value, Literal):
        return cast("Any", type(value.value))
    if isinstance(value, ListOf):
        return _list_of(_closed(type_of(item, edges)) for item in value.items)
    found: Any = edges.types.get(value.name, Any)
    for depth, name in enumerate(value.fields):
        if isinstance(found, Open) or found is Any:
            return Any
        # A loop's fields are no class's fields: its type is a dict of annotations.
        loop = cast("dict[str, Any]", found) if isinstance(found, dict) else None
        fields = loop or fields_of(found)
        if name not in fields:
            owner = written(value, without=len(value.fields) - depth)
            message = f"{owner} is {describe(found)}, which has no field '{name}'"
            if loop is not None:
                message = f"the loop '{value.name.rpartition('/')[2]}' has no field '{name}'"
            deeper = [f"{owner}.{key}.{name}" for key in fields if name in fields_of(fields[key])]
            help = f"write {listed(deeper, 'or')}" if deeper else did_you_mean(name, fields)
            if fields and not help:
                help = f"its fields are {listed(fields)}"
            edges.findings.append(Finding(value.place, message, help))
            return Any
        found = fields[name]
    return found


def written(reference: Reference, without: int = 0) -> str:
    """Write a reference as its file does, if need be without its last fields."""
    place = reference.place
    there = place and _REFERENCE.match(place.excerpt, place.column - 1)
    parts = there[1].split(".") if there else ["$" + reference.name, *reference.fields]
    return ".".join(parts[: len(parts) - without])


def _closed(found: Any) -> Any:
    return Any if isinstance(found, Open) else found


def _list_of(items: Iterable[Any]) -> Any:
    return list[Union[tuple(items)]]  # noqa: UP007


def flow(value: Value, port: Port, edges: Edges) -> Value:
    """Check that a value may flow into a port; returns it with its literals validated."""
    if isinstance(value, Literal):
        feeds(type(value.value), port.annotation, port.bindings)
        wanted = substitute(port.annotation, port.bindings)
        return fit(value, wanted, port.name, edges.findings)
    if isinstance(value, ListOf):
        item = item_annotation(port.annotation)
        if item is None:
            message = f"{port.name} takes {describe(port.annotation)}, found a list"
            edges.findings.append(Finding(value.place, message))
            return value
        inner = replace(port, name=f"an item of {port.name}", annotation=item)
        return replace(value, items=tuple(flow(item, inner, edges) for item in value.items))
    found = type_of(value, edges)
    if isinstance(found, Open):
        wanted = substitute(port.annotation, port.bindings)
        if wanted is not Any:
            found.demand(Demand(wanted, port.name, port.help))
    else:
        _check_edge(value, found, port, edges)
    return value


def _check_edge(reference: Reference, found: Any, port: Port, edges: Edges) -> None:
    before = dict(port.bindings)
    if feeds(found, port.annotation, port.bindings):
        for variable in port.bindings.keys() - before.keys():
            port.bound_by[variable] = port.name
        return
    wanted = substitute(port.annotation, port.bindings)
    because = "".join(
        f" as {port.bound_by[variable]} does"
        for variable in getattr(port.annotation, "__parameters__", (port.annotation,))
        if variable in port.bound_by
    )
    message = (
        f"{port.name} takes {describe(wanted)}{because},"
        f" but {written(reference)} is {describe(found)}"
    )
    help = _parts(reference, found, wanted, edges) or _converters(found, wanted, edges)
    edges.findings.append(Finding(reference.place, message, help))


def _parts(reference: Reference, found: Any, wanted: Any, edges: Edges) -> str | None:
    """Name the fields of what there is that are what is wanted."""
    whole = written(reference)
    loop = isinstance(edges.types.get(reference.name), dict)
    if loop and whole == f"${reference.name.rpartition('/')[2]}":
        # The only value of a loop goes by the loop's name, but a field of it does not.
        whole = ".".join([whole, *reference.fields])
    fields = fields_of(found).items()
    fitting = [
        f"{whole}.{name}" for name, part in fields if part is not Any and feeds(part, wanted)
    ]
    return f"write {listed(fitting, 'or')}" if fitting else None


def _converters(found: Any, wanted: Any, edges: Edges) -> str | None:
    """Name the nodes that would make what is wanted of what there is."""
    if not (_is_specific(found) and _is_specific(wanted)):
        return None
    names = [
        node.name
        for node in edges.nodes.values()
        if _is_specific(node.result)
        and feeds(node.result, wanted)
        and any(
            _is_specific(port.annotation) and feeds(found, port.annotation)
            for port in node.parameters.values()
        )
    ]
    if not names:
        return None
    what = "a node that makes" if len(names) == 1 else "nodes that make"
    return f"{what} {describe(wanted)} of {describe(found)}: {', '.join(sorted(names))}"


def _is_specific(annotation: Any) -> bool:
    base = base_of(annotation)
    plain = not isinstance(base, type) or base.__module__ in ("builtins", "typing", "pathlib")
    return kind_of(annotation) is not None or not plain


def _call(call: Call, edges: Edges) -> Call:
    bindings, bound_by = Bindings(), dict[Any, str]()

    def port(parameter: Parameter) -> Port:
        name = f"'{parameter.name}' of '{call.node.name}'"
        return Port(name, parameter.annotation, bindings, bound_by, parameter.help)

    arguments = dict(call.arguments)
    # What has a type of its own goes first: it says what the TypeVars stand for.
    for name in sorted(arguments, key=lambda name: _has_no_type(arguments[name], edges)):
        arguments[name] = flow(arguments[name], port(call.node.parameters[name]), edges)
    result = substitute(call.node.result, bindings)
    when, otherwise = call.when, call.otherwise
    own_name = call.name.rpartition("/")[2]
    if when:
        when = flow(when, Port(f"'when' of '{own_name}'", bool), edges)
        if otherwise:
            otherwise = flow(otherwise, Port(f"'else' of '{own_name}'", result), edges)
        else:
            result = Optional[result]  # noqa: UP045
    return replace(call, arguments=arguments, when=when, otherwise=otherwise, result=result)


def _has_no_type(value: Value, edges: Edges) -> bool:
    if isinstance(value, Reference):
        return isinstance(edges.types.get(value.name), Open)
    return True


def _loop(loop: Loop, edges: Edges) -> Loop:
    name = loop.name.rpartition("/")[2]
    own: dict[str, Open] = {}
    for key, value in loop.sequences.items():
        edges.types[loop.variable(key)] = _item(loop, key, value, own, edges)
    starts: dict[str, Any] = {}
    for key, carry in loop.carry.items():
        if isinstance(carry.start, Literal):
            own[key] = Open(f"'{key}'", carry.start.place or loop.place)
            starts[key] = own[key]
        else:
            starts[key] = type_of(carry.start, edges)
        edges.types[loop.variable(key)] = starts[key]
    body = type_blocks(loop.body, edges)
    carries: dict[str, Carry] = {}
    for key, carry in loop.carry.items():
        carries[key] = _carry(key, carry, starts[key], own, edges)
        if key in own:
            edges.types[loop.variable(key)] = own[key].settle([])
    until = loop.until and flow(loop.until, Port(f"'until' of '{name}'", bool), edges)
    sequences = dict(loop.sequences)
    for key, value in loop.sequences.items():
        if isinstance(value, Literal) and key in own:
            items = list[own[key].settle(edges.findings)]
            sequences[key] = fit(value, items, f"'{key}' of '{name}'", edges.findings)
    result: dict[str, Any] = {}
    for key, value in loop.collect.items():
        result[key] = _list_of([_closed(type_of(value, edges))])
    result |= {key: edges.types[loop.variable(key)] for key in loop.carry}
    edges.types[loop.name] = result
    return replace(
        loop,
        sequences=sequences,
        carry=carries,
        body=body,
        until=until,
        result={key: _closed(annotation) for key, annotation in result.items()},
    )


def _item(loop: Loop, key: str, value: Value, own: dict[str, Open], edges: Edges) -> Any:
    """Learn what the loop variable `key` holds."""
    name = loop.name.rpartition("/")[2]
    if isinstance(value, Literal) and isinstance(value.value, list):
        own[key] = Open(f"'{key}'", value.place or loop.place)
        return own[key]
    found = type_of(value, edges)
    if isinstance(found, Open):
        return Open(f"'{key}'", found.place, parent=found)
    item = item_type(found)
    if item is None:
        what = describe(found)
        if isinstance(value, Reference):
            what = f"{written(value)} is {what}, which"
        message = f"'{key}' of '{name}' cannot be walked: {what} has no items"
        edges.findings.append(Finding(value.place, message))
        return Any
    return item


def _carry(key: str, carry: Carry, start: Any, own: dict[str, Open], edges: Edges) -> Carry:
    """Check that what a carry becomes has the type that it starts with."""
    first, after = carry.start, carry.then
    becomes = Any if isinstance(after, Literal) else type_of(after, edges)
    if isinstance(start, Open):
        if not start.demands and not isinstance(becomes, Open) and becomes is not Any:
            start.demand(Demand(becomes, f"what '{key}' becomes"))
        start = start.settle(edges.findings if key in own else [])
    if isinstance(first, Literal):
        first = fit(first, start, f"'{key}'", edges.findings)
    if isinstance(becomes, Open) or not isinstance(after, Reference):
        after = flow(after, Port(f"'{key}'", start), edges)
    elif not feeds(becomes, start):
        message = f"'{key}' starts as {describe(start)} and becomes {describe(becomes)}"
        edges.findings.append(Finding(after.place, message, _converters(becomes, start, edges)))
    return Carry(first, after)
