"""Names: from parsed files to blocks, with every subgraph put in its place."""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .aliases import Aliases
from .blocks import Block, Call, Carry, GraphText, Literal, Loop, Reference, Value
from .errors import Finding, GraphError, Place, listed, nearest
from .files import Library
from .packs import NodeTypes
from .scope import UNKNOWN, Path, Scope, Symbol
from .spec import Block as BlockSpec
from .spec import CallBlock, LoopBlock, Parsed, SubgraphBlock
from .text import Scalar, find

BLOCK_LIMIT = 20_000
NESTING_LIMIT = 32


@dataclass(frozen=True)
class InputEntry:
    """An input as a file writes it; `default` is None where it must be given."""

    name: str
    default: Literal | None
    place: Place


@dataclass(frozen=True)
class Resolved:
    """A graph whose names are resolved, but not yet its types."""

    inputs: list[InputEntry]
    blocks: list[Block]
    outputs: dict[str, Value]


@dataclass
class Resolver:
    """What the files of one graph share while their names are resolved."""

    types: NodeTypes
    findings: list[Finding]
    aliases: Aliases
    library: Library
    files: dict[pathlib.Path | None, GraphText]
    parsed: dict[pathlib.Path, Parsed] = field(default_factory=dict[pathlib.Path, Parsed])
    astray: list[Reference] = field(default_factory=list[Reference])
    count: int = 0


def resolve(parsed: Parsed, path: pathlib.Path | None, resolver: Resolver) -> Resolved:
    """Resolve the names of a graph and of the graphs in it, and note what is wrong."""
    chain = (path,) if path else ()
    scope = Scope(parsed.tree, "", resolver.findings, chain=chain, astray=resolver.astray)
    if parsed.unreadable:
        resolver.findings += parsed.findings
        return Resolved([], [], {})
    entries = _input_entries(parsed, scope)
    values: dict[str, Value] = {entry.name: Reference(entry.name) for entry in entries}
    blocks, outputs = _file(parsed, entries, values, scope, resolver)
    aliases = resolver.aliases
    # Also those that no block uses: a cycle is a mistake all the same.
    aliases.follow_all(aliases.values)
    return Resolved(
        entries,
        [aliases.follow_block(block) for block in blocks],
        aliases.follow_all(outputs),
    )


def _file(
    parsed: Parsed,
    entries: Iterable[InputEntry],
    inputs: Mapping[str, Value],
    scope: Scope,
    resolver: Resolver,
) -> tuple[list[Block], dict[str, Value]]:
    """Resolve one file, whose inputs have been given values, to its blocks and outputs."""
    resolver.findings += [finding.inside(scope.user) for finding in parsed.findings]
    for entry in entries:
        scope.declare(entry.name, Symbol("input", entry.place, inputs.get(entry.name, UNKNOWN)))
    for path in parsed.broken:
        if len(path) == 2 and path[0] != "outputs":
            scope.names.setdefault(str(path[1]), Symbol("block", scope.key(path)))
    blocks = _blocks(parsed.content.nodes, ("nodes",), scope, resolver)
    outputs = scope.values(parsed.content.outputs, ("outputs",))
    _report_bare_names(parsed.content.outputs, ("outputs",), scope)
    for entry in entries:
        # A broken block may be the one that uses it.
        if entry.name not in scope.used and not parsed.broken:
            scope.report(entry.place, f"nothing uses the input '{entry.name}'")
    return blocks, outputs


def _report_bare_names(data: Mapping[str, Any], path: Path, scope: Scope) -> None:
    """Report texts that lack but the dollar sign, where anything goes and no type tells."""
    for name, text in data.items():
        if isinstance(text, str) and scope.has(text):
            message = f"'{name}' is literal text"
            scope.report(scope.place((*path, name)), message, f"did you mean '${text}'?")


def _input_entries(parsed: Parsed, scope: Scope) -> list[InputEntry]:
    # A default is read where no name is known, so that it can refer to none.
    nowhere = Scope(parsed.tree, "", [])
    entries: list[InputEntry] = []
    for name, data in parsed.content.inputs.items():
        tree = find(parsed.tree, ("inputs", name))
        default = None
        if not (isinstance(tree, Scalar) and tree.empty):
            value = nowhere.value(data, ("inputs", name))
            if isinstance(value, Literal):
                default = value
            else:
                message = f"the default of '{name}' must be a literal"
                where = scope.place(("inputs", name))
                scope.report(where, message, "write $$ for a dollar sign")
        entries.append(InputEntry(name, default, scope.key(("inputs", name))))
    return entries


def _blocks(
    specs: Mapping[str, BlockSpec], path: Path, scope: Scope, resolver: Resolver
) -> list[Block]:
    """Declare every name first, because blocks may stand in any order; then build the blocks."""
    subgraphs: dict[str, tuple[pathlib.Path, Parsed]] = {}
    for name, spec in specs.items():
        where = (*path, name)
        if isinstance(spec, SubgraphBlock):
            found = _read_subgraph(spec, where, scope, resolver)
            if found:
                subgraphs[name] = found
            scope.declare(name, _subgraph_symbol(name, found, where, scope))
        elif isinstance(spec, LoopBlock):
            scope.declare(name, _loop_symbol(name, spec, where, scope))
        else:
            whole = Reference(scope.prefix + name)
            scope.declare(name, Symbol("block", scope.key(where), whole))
    built: list[Block] = []
    for name, spec in specs.items():
        where = (*path, name)
        resolver.count += 1
        if resolver.count > BLOCK_LIMIT:
            message = f"the graph has more than {BLOCK_LIMIT:,} blocks"
            raise GraphError([Finding(scope.key(where), message)])
        if isinstance(spec, CallBlock):
            built += _call(name, spec, where, scope, resolver)
        elif isinstance(spec, LoopBlock):
            built.append(_loop(name, spec, where, scope, resolver))
        else:
            built += _subgraph(name, spec, where, scope, subgraphs.get(name), resolver)
    return built


def _loop_symbol(name: str, spec: LoopBlock, path: Path, scope: Scope) -> Symbol:
    loop = scope.prefix + name
    fields: dict[str, Value] = {}
    for key in (*spec.carry, *spec.collect):
        fields[key] = Reference(loop, (key,))
    inside = frozenset([*spec.sequences, *spec.carry, *spec.nodes])
    return Symbol("loop", scope.key(path), Reference(loop), fields, inside)


def _subgraph_symbol(
    name: str, found: tuple[pathlib.Path, Parsed] | None, path: Path, scope: Scope
) -> Symbol:
    if found is None:
        return Symbol("subgraph", scope.key(path))
    fields: dict[str, Value] = {}
    for key in found[1].content.outputs:
        fields[key] = Reference(_alias(scope.prefix + name, key))
    return Symbol("subgraph", scope.key(path), fields=fields)


def _alias(subgraph: str, output: str) -> str:
    """Name an output of a subgraph as no block can be named."""
    return f"{subgraph}.{output}"


def _call(name: str, spec: CallBlock, path: Path, scope: Scope, resolver: Resolver) -> list[Block]:
    arguments = scope.values(spec.arguments, path)
    when = None if spec.when is None else scope.value(spec.when, (*path, "when"))
    otherwise = None if spec.otherwise is None else scope.value(spec.otherwise, (*path, "else"))
    if otherwise and not when:
        scope.report(scope.key((*path, "else")), "'else' says nothing without 'when'")
    node = resolver.types.get(spec.node)
    if node is None:
        place = scope.place((*path, "node"))
        scope.findings.append(resolver.types.why_not(spec.node, place))
        return []
    required = [port.name for port in node.parameters.values() if port.required]
    ports = ("parameter", list(node.parameters), required)
    known = _fitting(f"'{node.name}'", ports, arguments, path, scope)
    place = scope.key(path)
    return [Call(scope.prefix + name, node, known, when, otherwise, place, node.result)]


def _fitting(
    owner: str,
    ports: tuple[str, list[str], list[str]],
    arguments: Mapping[str, Value],
    path: Path,
    scope: Scope,
) -> dict[str, Value]:
    """Keep the arguments that have a port of their name; report the others and what is missing."""
    what, names, required = ports
    missing = [name for name in required if name not in arguments]
    for name in arguments:
        if name in names:
            continue
        free = [other for other in names if other not in arguments]
        near = nearest(name, free)
        if not near and len(missing) == 1 and not isinstance(arguments[name], Literal):
            # Something is wired to a name that is not there, and one place is left for it.
            (near,) = missing
        help = f"did you mean '{near}'?" if near else f"its {what}s are {listed(names)}"
        scope.report(scope.key((*path, name)), f"{owner} has no {what} '{name}'", help)
        # What was misspelt is not missing as well.
        missing = [other for other in missing if other != near]
    for name in missing:
        scope.report(scope.key(path), f"'{path[-1]}' does not give '{name}', which {owner} needs")
    return {name: value for name, value in arguments.items() if name in names}


def _loop(name: str, spec: LoopBlock, path: Path, scope: Scope, resolver: Resolver) -> Loop:
    loop = scope.prefix + name
    inside = scope.inside(f"{loop}/")
    for section, keys in (("for", spec.sequences), ("carry", spec.carry)):
        what = "loop variable" if section == "for" else "carry"
        for key in keys:
            place = scope.key((*path, section, key))
            inside.declare(key, Symbol(what, place, Reference(f"{loop}/{key}")))
    for key in spec.collect.keys() & spec.carry.keys():
        scope.report(scope.key((*path, "collect", key)), f"'{key}' is a carry of this loop already")
    body = _blocks(spec.nodes, (*path, "nodes"), inside, resolver)
    _report_bare_names(spec.collect, (*path, "collect"), inside)
    carry: dict[str, Carry] = {}
    for key, entry in spec.carry.items():
        where = (*path, "carry", key)
        start = scope.value(entry.start, (*where, "from"))
        carry[key] = Carry(start, inside.value(entry.then, (*where, "then")))
    return Loop(
        name=loop,
        sequences=scope.values(spec.sequences, (*path, "for")),
        carry=carry,
        body=tuple(body),
        collect=inside.values(spec.collect, (*path, "collect")),
        until=None if spec.until is None else inside.value(spec.until, (*path, "until")),
        place=scope.key(path),
        result={},
    )


def _read_subgraph(
    spec: SubgraphBlock, path: Path, scope: Scope, resolver: Resolver
) -> tuple[pathlib.Path, Parsed] | None:
    place = scope.place((*path, "graph"))
    user = scope.chain[-1] if scope.chain else None
    try:
        file = resolver.library.find(spec.graph, user, place)
        if file.resolve() in [outer.resolve() for outer in scope.chain]:
            names = " -> ".join(str(outer) for outer in (*scope.chain, file))
            scope.report(place, f"the graph contains itself: {names}")
            return None
        if len(scope.chain) >= NESTING_LIMIT:
            scope.report(place, f"graphs are nested more than {NESTING_LIMIT} deep")
            return None
        if file not in resolver.parsed:
            text, resolver.parsed[file] = resolver.library.read(file)
            resolver.files[file] = GraphText(_unused_name(file, resolver), text)
        resolver.files[user].uses[spec.graph] = resolver.files[file].name
    except GraphError as error:
        resolver.findings += [finding.inside(place) for finding in error.findings]
        return None
    parsed = resolver.parsed[file]
    if parsed.unreadable:
        resolver.findings += [finding.inside(place) for finding in parsed.findings]
        return None
    return file, parsed


def _unused_name(file: pathlib.Path, resolver: Resolver) -> str:
    """Name a file by its last part, with a number where another is called so."""
    taken = {other.name for other in resolver.files.values()}
    numbered = (f"{file.stem}-{number}{file.suffix}" for number in itertools.count(2))
    return next(name for name in itertools.chain([file.name], numbered) if name not in taken)


def _subgraph(
    name: str,
    spec: SubgraphBlock,
    path: Path,
    scope: Scope,
    found: tuple[pathlib.Path, Parsed] | None,
    resolver: Resolver,
) -> list[Block]:
    arguments = scope.values(spec.arguments, path)
    if found is None:
        return []
    file, parsed = found
    own = scope.prefix + name
    user = scope.place((*path, "graph"))
    inside = Scope(
        parsed.tree,
        f"{own}/",
        resolver.findings,
        chain=(*scope.chain, file),
        user=user,
        astray=resolver.astray,
    )
    entries = _input_entries(parsed, inside)
    required = [entry.name for entry in entries if entry.default is None]
    ports = ("input", [entry.name for entry in entries], required)
    known = _fitting(f"'{file.name}'", ports, arguments, path, scope)
    defaults = {entry.name: entry.default for entry in entries if entry.default}
    blocks, outputs = _file(parsed, entries, {**defaults, **known}, inside, resolver)
    for key, value in outputs.items():
        resolver.aliases.values[_alias(own, key)] = value
    return blocks
