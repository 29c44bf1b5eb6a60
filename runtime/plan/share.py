"""Equal calls are one call."""

from collections.abc import Hashable

from graph import Block, Call, Graph, Loop, Reference, Value, references

from .rename import changed_call, changed_loop, substituting, with_blocks


def share_equal_calls(graph: Graph) -> Graph:
    """Let calls of the same node with the same arguments be one: two prompts load one encoder."""
    shared: dict[str, Value] = {}
    return with_blocks(graph, _share(graph.blocks, shared), substituting(shared))


def _share(blocks: tuple[Block, ...], shared: dict[str, Value]) -> tuple[Block, ...]:
    kept: list[Block] = []
    seen: dict[Hashable, list[Call]] = {}
    change = substituting(shared)
    for block in blocks:
        if isinstance(block, Loop):
            kept.append(changed_loop(block, _share(block.body, shared), change))
            continue
        call = changed_call(block, change) if shared else block
        alike = seen.setdefault(_outline(call), [])
        twin = next((twin for twin in alike if _equal(twin, call)), None)
        if twin is None or call.node.effect:
            alike.append(call)
            kept.append(call)
        else:
            shared[call.name] = Reference(twin.name)
    return tuple(kept)


def _outline(call: Call) -> Hashable:
    """Give what equal calls have in common and can be hashed, which literals often cannot."""
    return call.node.name, *[(it.name, it.fields) for it in references(call.arguments.values())]


def _equal(one: Call, other: Call) -> bool:
    parts = [(call.arguments, call.when, call.otherwise) for call in (one, other)]
    # 1 == 1.0 == True in Python; a node may tell them apart.
    return parts[0] == parts[1] and repr(parts[0]) == repr(parts[1])
