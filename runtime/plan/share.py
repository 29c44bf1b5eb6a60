"""Equal calls are one call."""

from collections.abc import Hashable
from dataclasses import replace

from graph import Block, Call, Graph, Loop, Reference, Value, references

from .rename import changed, changed_call, changed_loop, renaming


def share_equal_calls(graph: Graph) -> Graph:
    """Let calls of the same node with the same arguments be one: two prompts load one encoder."""
    names: dict[str, str] = {}
    blocks = _share(graph.blocks, names)
    change = renaming(names)
    outputs = {name: changed(value, change) for name, value in graph.outputs.items()}
    return replace(graph, blocks=blocks, outputs=outputs)


def _share(blocks: tuple[Block, ...], names: dict[str, str]) -> tuple[Block, ...]:
    kept: list[Block] = []
    seen: dict[Hashable, list[Call]] = {}
    change = renaming(names)
    for block in blocks:
        if isinstance(block, Loop):
            body = _share(block.body, names)
            kept.append(changed_loop(block, body, change))
            continue
        call = changed_call(block, change)
        alike = seen.setdefault(_outline(call), [])
        twin = next((twin for twin in alike if _equal(twin, call)), None)
        if twin is None or call.node.effect:
            alike.append(call)
            kept.append(call)
        else:
            names[call.name] = twin.name
    return tuple(kept)


def _outline(call: Call) -> Hashable:
    """Give what equal calls have in common and can be hashed, which literals often cannot."""
    return call.node.name, tuple((name, _named(value)) for name, value in call.arguments.items())


def _named(value: Value) -> Hashable:
    if isinstance(value, Reference):
        return value.name, value.fields
    return tuple((found.name, found.fields) for found in references(value))


def _equal(one: Call, other: Call) -> bool:
    parts = [(call.arguments, call.when, call.otherwise) for call in (one, other)]
    # 1 == 1.0 == True in Python; a node may tell them apart.
    return parts[0] == parts[1] and repr(parts[0]) == repr(parts[1])
