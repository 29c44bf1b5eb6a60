"""Names: from parsed files to blocks, with every subgraph put in its place."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from .blocks import Block, Call, Carry, ListOf, Literal, Loop, Reference, Value
from .errors import Finding, GraphError, Place, did_you_mean, listed
from .files import find_graph, read_graph
from .node import NodeType
from .scope import UNKNOWN, Path, Scope, Symbol
from .spec import Block as BlockSpec
from .spec import CallBlock, LoopBlock, Parsed, SubgraphBlock
from .text import Scalar
from .text import find as find_tree

BLOCK_LIMIT = 20_000
NESTING_LIMIT = 32


@dataclass(frozen=True)
class InputEntry:
    """An input as a file writes it; `default` is None where it must be given."""

    name: str
    default: Literal | None
    place: Place


@dataclass
class Resolved:
    """A graph whose names are resolved, but not yet its types."""

    inputs: list[InputEntry]
    blocks: list[Block]
    outputs: dict[str, Value]


@dataclass
class Resolver:
    """What the files of one graph share while their names are resolved."""

    types: Mapping[str, NodeType]
    findings: list[Finding] = field(default_factory=list[Finding])
    aliases: dict[str, Value] = field(default_factory=dict[str, Value])
    used_from: dict[str, Place] = field(default_factory=dict[str, Place])
    parsed: dict[pathlib.Path, Parsed | None] = field(
        default_factory=dict[pathlib.Path, Parsed | None]
    )
    count: int = 0


def resolve(parsed: Parsed, path: pathlib.Path | None, resolver: Resolver) -> Resolved:
    """Resolve the names of a graph and of the graphs in it; what is wrong is noted in the resolver."""
    resolver.findings += parsed.findings
    entries = _input_entries(parsed, resolver)
    scope = Scope(parsed.tree, "", resolver.findings)
    for entry in entries:
        scope.declare(entry.name, Symbol("input", entry.place, Reference(entry.name)))
    chain = (path,) if path else ()
    blocks = _file_blocks(parsed, scope, chain, resolver)
    outputs = _outputs(parsed, scope)
    _report_unused(entries, parsed, scope)
    for value in outputs.values():
        follow(value, resolver)
    return Resolved(
        entries,
        [follow_all(block, resolver) for block in blocks],
        {name: follow(value, resolver) for name, value in outputs.items()},
    )


def _input_entries(parsed: Parsed, resolver: Resolver) -> list[InputEntry]:
    scope = Scope(parsed.tree, "", resolver.findings)
    entries: list[InputEntry] = []
    for name, data in parsed.content.inputs.items():
        path = ("inputs", name)
        tree = find_tree(parsed.tree, path)
        empty = isinstance(tree, Scalar) and tree.empty
        default = scope.value(data, path)
        if not isinstance(default, Literal):
            default = Literal(None, tree.place)
        entries.append(InputEntry(name, None if empty else default, scope.key(path)))
    return entries


def _outputs(parsed: Parsed, scope: Scope) -> dict[str, Value]:
    return {
        name: scope.value(data, ("outputs", name)) for name, data in parsed.content.outputs.items()
    }


def _report_unused(entries: Iterable[InputEntry], parsed: Parsed, scope: Scope) -> None:
    # A broken block may be the one that uses it.
    if parsed.broken:
        return
    for entry in entries:
        if entry.name not in scope.used:
            scope.report(
                entry.place, f"nothing uses the input '{entry.name}'", f"write ${entry.name}"
            )


def _file_blocks(
    parsed: Parsed, scope: Scope, chain: tuple[pathlib.Path, ...], resolver: Resolver
) -> list[Block]:
    for section, *name in parsed.broken:
        if section in ("inputs", "nodes") and name:
            path = (section, name[0])
            scope.names.setdefault(str(name[0]), Symbol("block", scope.key(path)))
    return _blocks(parsed.content.nodes, ("nodes",), scope, chain, resolver)


def _blocks(
    specs: Mapping[str, BlockSpec],
    path: Path,
    scope: Scope,
    chain: tuple[pathlib.Path, ...],
    resolver: Resolver,
) -> list[Block]:
    """Declare every name first, because blocks may stand in any order; then build the blocks."""
    subgraphs: dict[str, tuple[pathlib.Path, Parsed]] = {}
    for name, spec in specs.items():
        place = scope.key((*path, name))
        whole = Reference(scope.prefix + name)
        if isinstance(spec, CallBlock):
            symbol = Symbol("block", place, whole)
        elif isinstance(spec, LoopBlock):
            fields = [*spec.carry, *spec.collect]
            inside = frozenset([*spec.sequences, *spec.carry, *spec.nodes])
            values = {key: Reference(whole.name, (key,)) for key in fields}
            symbol = Symbol("loop", place, fields=values, inside=inside)
        else:
            found = _read_subgraph(spec, (*path, name), scope, chain, resolver)
            symbol = Symbol("subgraph", place)
            if found:
                subgraphs[name] = found
                # Not yet known: the subgraph's own names are resolved below.
                outputs = found[1].content.outputs
                aliases = {key: Reference(f"{whole.name}.{key}") for key in outputs}
                symbol = Symbol("subgraph", place, fields=aliases)
        scope.declare(name, symbol)
    built: list[Block] = []
    for name, spec in specs.items():
        resolver.count += 1
        where = (*path, name)
        if resolver.count > BLOCK_LIMIT:
            message = f"the graph has more than {BLOCK_LIMIT:,} blocks"
            raise GraphError([Finding(scope.key(where), message)])
        if isinstance(spec, CallBlock):
            built += _call(name, spec, where, scope, resolver)
        elif isinstance(spec, LoopBlock):
            built.append(_loop(name, spec, where, scope, chain, resolver))
        else:
            built += _subgraph(name, spec, where, scope, chain, subgraphs.get(name), resolver)
    return built


def _call(
    name: str, spec: CallBlock, path: Path, scope: Scope, resolver: Resolver
) -> list[Block]:
    arguments = {key: scope.value(data, (*path, key)) for key, data in spec.arguments.items()}
    when = None if spec.when is None else scope.value(spec.when, (*path, "when"))
    otherwise = None
    if spec.otherwise is not None:
        otherwise = scope.value(spec.otherwise, (*path, "else"))
        if when is None:
            scope.report(scope.key((*path, "else")), "'else' says nothing without 'when'")
    node = resolver.types.get(spec.node)
    if node is None:
        place = find_tree(scope.tree, (*path, "node")).place
        help = did_you_mean(spec.node, resolver.types)
        scope.report(place, f"there is no node '{spec.node}'", help)
        return []
    required = [port.name for port in node.parameters.values() if port.required]
    known = _fitting(f"'{node.name}'", "parameter", arguments, node.parameters, required, path, scope)
    place = scope.key(path)
    return [Call(scope.prefix + name, node, known, when, otherwise, place, node.result)]


def _fitting(
    owner: str,
    port: str,
    arguments: Mapping[str, Value],
    ports: Iterable[str],
    required: Iterable[str],
    path: Path,
    scope: Scope,
) -> dict[str, Value]:
    """Keep the arguments that have a port of their name, and report the others and what is missing."""
    ports, missing = list(ports), [name for name in required if name not in arguments]
    for name in arguments:
        if name in ports:
            continue
        near = did_you_mean(name, [port for port in ports if port not in arguments] or ports)
        help = near or f"its {port}s are {listed(ports)}"
        scope.report(scope.key((*path, name)), f"{owner} has no {port} '{name}'", help)
        # A misspelt argument is not missing as well.
        missing = [other for other in missing if near is None or f"'{other}'" not in near]
    for name in missing:
        scope.report(scope.key(path), f"'{path[-1]}' does not give '{name}', which {owner} needs")
    return {name: value for name, value in arguments.items() if name in ports}


def _loop(
    name: str,
    spec: LoopBlock,
    path: Path,
    scope: Scope,
    chain: tuple[pathlib.Path, ...],
    resolver: Resolver,
) -> Loop:
    loop = scope.prefix + name
    body = Scope(scope.tree, f"{loop}/", scope.findings, scope, used=scope.used)
    for section, keys in (("for", spec.sequences), ("carry", spec.carry)):
        what = "loop variable" if section == "for" else "carry"
        for key in keys:
            place = scope.key((*path, section, key))
            body.declare(key, Symbol(what, place, Reference(f"{loop}/{key}")))
    for key in spec.collect:
        if key in spec.carry:
            scope.report(scope.key((*path, "collect", key)), f"'{key}' is the name of a carry already")
    blocks = _blocks(spec.nodes, (*path, "nodes"), body, chain, resolver)
    return Loop(
        name=loop,
        sequences={
            key: scope.value(data, (*path, "for", key)) for key, data in spec.sequences.items()
        },
        carry={
            key: Carry(
                scope.value(entry.start, (*path, "carry", key, "from")),
                body.value(entry.then, (*path, "carry", key, "then")),
            )
            for key, entry in spec.carry.items()
        },
        body=tuple(blocks),
        collect={
            key: body.value(data, (*path, "collect", key)) for key, data in spec.collect.items()
        },
        until=None if spec.until is None else body.value(spec.until, (*path, "until")),
        place=scope.key(path),
        result={},
    )


def _read_subgraph(
    spec: SubgraphBlock,
    path: Path,
    scope: Scope,
    chain: tuple[pathlib.Path, ...],
    resolver: Resolver,
) -> tuple[pathlib.Path, Parsed] | None:
    place = find_tree(scope.tree, (*path, "graph")).place
    beside = chain[-1].parent if chain else None
    try:
        file = find_graph(spec.graph, beside, place)
        if file.resolve() in [outer.resolve() for outer in chain]:
            names = " -> ".join(str(outer) for outer in (*chain, file))
            scope.report(place, f"the graph contains itself: {names}")
            return None
        if len(chain) >= NESTING_LIMIT:
            scope.report(place, f"graphs are nested more than {NESTING_LIMIT} deep")
            return None
        resolver.used_from.setdefault(str(file), place)
        if file not in resolver.parsed:
            resolver.parsed[file] = None
            resolver.parsed[file] = read_graph(file)[1]
    except GraphError as error:
        resolver.findings += error.findings
        return None
    parsed = resolver.parsed[file]
    return (file, parsed) if parsed else None


def _subgraph(
    name: str,
    spec: SubgraphBlock,
    path: Path,
    scope: Scope,
    chain: tuple[pathlib.Path, ...],
    found: tuple[pathlib.Path, Parsed] | None,
    resolver: Resolver,
) -> list[Block]:
    arguments = {key: scope.value(data, (*path, key)) for key, data in spec.arguments.items()}
    if found is None:
        return []
    file, parsed = found
    resolver.findings += parsed.findings
    entries = _input_entries(parsed, resolver)
    required = [entry.name for entry in entries if entry.default is None]
    ports = [entry.name for entry in entries]
    known = _fitting(f"'{file.name}'", "input", arguments, ports, required, path, scope)
    prefix = f"{scope.prefix}{name}"
    inner = Scope(parsed.tree, f"{prefix}/", resolver.findings)
    for entry in entries:
        value = known.get(entry.name, entry.default or UNKNOWN)
        inner.declare(entry.name, Symbol("input", entry.place, value))
    blocks = _file_blocks(parsed, inner, (*chain, file), resolver)
    for key, value in _outputs(parsed, inner).items():
        resolver.aliases[f"{prefix}.{key}"] = value
    _report_unused(entries, parsed, inner)
    return blocks


def follow(value: Value, resolver: Resolver, seen: tuple[str, ...] = ()) -> Value:
    """Replace what is an output of a subgraph by what the subgraph gives for it."""
    if isinstance(value, ListOf):
        return replace(value, items=tuple(follow(item, resolver, seen) for item in value.items))
    while isinstance(value, Reference) and value.name in resolver.aliases:
        if value.name in seen:
            loop = " -> ".join((*seen[seen.index(value.name) :], value.name))
            resolver.findings.append(Finding(value.place, f"a cycle: {loop}"))
            return UNKNOWN
        seen = (*seen, value.name)
        target = resolver.aliases[value.name]
        if isinstance(target, Reference):
            value = Reference(target.name, target.fields + value.fields, value.place)
        elif value.fields:
            message = f"a literal has no field '{value.fields[0]}'"
            resolver.findings.append(Finding(value.place, message))
            return UNKNOWN
        else:
            return follow(target, resolver, seen)
    return value


def follow_all(block: Block, resolver: Resolver) -> Block:
    """Follow every value of a block, also inside a loop's body."""

    def given(values: Mapping[str, Value]) -> dict[str, Value]:
        return {name: follow(value, resolver) for name, value in values.items()}

    if isinstance(block, Call):
        return replace(
            block,
            arguments=given(block.arguments),
            when=block.when and follow(block.when, resolver),
            otherwise=block.otherwise and follow(block.otherwise, resolver),
        )
    return replace(
        block,
        sequences=given(block.sequences),
        carry={
            name: Carry(follow(carry.start, resolver), follow(carry.then, resolver))
            for name, carry in block.carry.items()
        },
        body=tuple(follow_all(inner, resolver) for inner in block.body),
        collect=given(block.collect),
        until=block.until and follow(block.until, resolver),
    )
