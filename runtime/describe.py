"""Node types and graphs in words, for the command line."""

from graph import Finding, Graph, GraphError, NodeType, describe, did_you_mean, node_types


def list_nodes() -> str:
    """List every node type with the first line of its documentation."""
    types = sorted(node_types().values(), key=lambda kind: (kind.module, kind.name))
    width = max(len(kind.name) for kind in types)
    lines: list[str] = []
    for previous, kind in zip([None, *types], types, strict=False):
        if previous is None or previous.module != kind.module:
            lines += ["", f"{kind.module}"]
        lines.append(f"  {kind.name:<{width}}  {kind.doc.splitlines()[0]}")
    return "\n".join(lines[1:])


def describe_node(name: str) -> str:
    """Describe one node type: what it does, its ports, and a block to begin with.

    Raises GraphError where there is none of that name.
    """
    kind = node_types().get(name)
    if kind is None:
        message = f"there is no node type '{name}'"
        raise GraphError([Finding(None, message, did_you_mean(name, node_types()))])
    rows: list[tuple[str, str, str]] = []
    for parameter in kind.parameters.values():
        if parameter.ambient:
            given = f"given by the machine ({parameter.ambient})"
        else:
            given = "must be given" if parameter.required else f"default {parameter.default!r}"
        words = f"{given}; {parameter.help}" if parameter.help else given
        rows.append((parameter.name, describe(parameter.annotation), words))
    return "\n".join(
        [f"{name}: {kind.doc}", "", "takes", *_table(rows), "", "gives", *_outputs(kind), "",
         "in a graph", f"  my_{name}: {_block(kind)}"]
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
