"""Node types and graphs in words, for the command line."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from graph import (
    Finding,
    Graph,
    GraphError,
    Kind,
    NodeType,
    class_of,
    describe,
    did_you_mean,
    fields_of,
    item_type,
    kind_of,
    members,
    node_types,
)


def list_nodes() -> str:
    """List every node type with the first line of its documentation, then the kinds of values."""
    lines: list[str] = []
    by_module = sorted(node_types().values(), key=lambda one: (one.module, one.name))
    for module, types in groupby(by_module, lambda one: one.module):
        lines += [module, *_rows(types), ""]
    kinds = _kinds().values()
    names, axes = (
        max(map(len, texts)) for texts in zip(*((it.name, it.axes) for it in kinds), strict=True)
    )
    rows = (f"  {it.name:<{names}}  {it.axes:<{axes}}  {it.help}".rstrip() for it in kinds)
    return "\n".join([*lines, "kinds of values, and their axes", *rows])


def find_nodes(words: str) -> str:
    """List the node types that give or take what has this name, or speak of it.

    That is a kind, or a class such as Schedule. Raises GraphError where there are none.
    """
    types = sorted(node_types().values(), key=lambda one: one.name)
    wanted = _plain(words)
    giving = [one for one in types if wanted in _names(_given(one))]
    taking = [one for one in types if wanted in _names(_taken(one))]
    if giving or taking:
        found = [it for name, it in _kinds().items() if _plain(name) == wanted]
        title = [f"{it.name}: {it.help} ({it.axes or 'any axes'})" for it in found] or [words]
        return "\n".join([*title, "", "given by", *_rows(giving), "", "taken by", *_rows(taking)])
    speaking = [one for one in types if words.lower() in f"{one.name} {one.doc}".lower()]
    if not speaking:
        message = f"there is no node type or kind '{words}'"
        raise GraphError([Finding(None, message, did_you_mean(words, [*node_types(), *_kinds()]))])
    return "\n".join(_rows(speaking))


def _rows(types: Iterable[NodeType]) -> list[str]:
    width = max(map(len, node_types()))
    return [f"  {one.name:<{width}}  {one.doc.splitlines()[0]}" for one in types]


def _kinds() -> dict[str, Kind]:
    """Find the kinds of all that nodes take and give; where several share a name, one with help."""
    offers = (
        offer
        for one in node_types().values()
        for annotation in (*_given(one), *_taken(one))
        for offer in _offers(annotation)
    )
    kinds = sorted(filter(None, map(kind_of, offers)), key=lambda it: (it.name, bool(it.help)))
    return {kind.name: kind for kind in kinds}


def _given(one: NodeType) -> list[Any]:
    fields = fields_of(one.result).values() if hasattr(one.result, "_fields") else ()
    return [one.result, *fields]


def _taken(one: NodeType) -> list[Any]:
    return [port.annotation for port in one.parameters.values() if not port.ambient]


def _offers(annotation: Any) -> Iterator[Any]:
    """List what an annotation offers, and what the items of its lists do."""
    for offer in members(annotation):
        yield offer
        if class_of(offer) is list:
            yield from _offers(item_type(offer))


def _names(annotations: Iterable[Any]) -> set[str]:
    return {_plain(describe(offer)) for each in annotations for offer in _offers(each)}


def _plain(name: str) -> str:
    """Make one of `PooledText`, as code has it, and `pooled text`, as graphs are told of it."""
    return name.replace(" ", "").replace("_", "").lower()


def describe_node(kind: NodeType) -> str:
    """Describe one node type: what it does, its ports, and a block to begin with."""
    rows: list[tuple[str, str, str]] = []
    for parameter in kind.parameters.values():
        if parameter.ambient:
            given = f"given by the machine ({parameter.ambient})"
        else:
            given = "must be given" if parameter.required else f"default {parameter.default!r}"
        words = f"{given}; {parameter.help}" if parameter.help else given
        rows.append((parameter.name, describe(parameter.annotation), words))
    return "\n".join(
        [f"{kind.name}: {kind.doc}", "", "takes", *_table(rows), "", "gives", *_outputs(kind), "",
         "in a graph", f"  my_{kind.name}: {_block(kind)}"]
    )  # fmt: skip


def describe_graph(graph: Graph) -> str:
    """Describe a graph: its leading comment, its inputs and its outputs."""
    rows: list[tuple[str, str, str]] = []
    for given in graph.inputs.values():
        default = "must be given" if given.required else f"default {given.default!r}"
        words = f"{default}; {given.help}" if given.help else default
        rows.append((given.name, describe(given.annotation), words))
    outputs = ", ".join(graph.outputs) or "none"
    return "\n".join([graph.doc, "", "inputs", *_table(rows), "", f"outputs: {outputs}"])


def _outputs(kind: NodeType) -> list[str]:
    fields = getattr(kind.result, "__annotations__", {}) if hasattr(kind.result, "_fields") else {}
    own = f"  {describe(kind.result)}"
    return [own, *_table([(f".{name}", describe(hint), "") for name, hint in fields.items()])]


def _block(kind: NodeType) -> str:
    wanted = [name for name, parameter in kind.parameters.items() if parameter.required]
    return "{" + ", ".join([f"node: {kind.name}", *(f"{name}: ${name}" for name in wanted)]) + "}"


def _table(rows: list[tuple[str, str, str]]) -> list[str]:
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    return [
        f"  {name:<{widths[0]}}  {kind:<{widths[1]}}  {words}".rstrip()
        for name, kind, words in rows
    ]
