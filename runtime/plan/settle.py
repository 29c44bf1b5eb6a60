"""A call that only hands on one of its arguments is that argument."""

from collections.abc import Iterator
from dataclasses import replace
from inspect import signature

from graph import Block, Call, Graph, Literal, Loop, Value, prune, references, values_of

from .rename import changed_call, changed_loop, substituting, with_blocks


def settle(graph: Graph) -> Graph:
    """Take out the calls that are known to give what they were given, and what only they needed.

    That is a call whose `when` is known not to hold, and one whose node type has a shortcut for
    what it is given: guidance of scale 1 is the conditional prediction, bit for bit.
    """
    if not any(map(_may_settle, _calls(graph.blocks))):
        return graph
    fielded = {found.name for found in references(_values(graph)) if found.fields}
    settled: dict[str, Value] = {}
    change = substituting(settled)

    def walk(blocks: tuple[Block, ...]) -> Iterator[Block]:
        for block in blocks:
            if isinstance(block, Loop):
                yield changed_loop(block, tuple(walk(block.body)), change)
                continue
            call = changed_call(block, change)
            if isinstance(call.when, Literal) and call.when.value:
                call = replace(call, when=None, otherwise=None)
            value = _stands_for(call)
            if value is None or (call.name in fielded and not hasattr(value, "fields")):
                yield call
            else:
                settled[call.name] = value

    return prune(with_blocks(graph, tuple(walk(graph.blocks)), change))


def _calls(blocks: tuple[Block, ...]) -> Iterator[Call]:
    for block in blocks:
        if isinstance(block, Loop):
            yield from _calls(block.body)
        else:
            yield block


def _may_settle(call: Call) -> bool:
    return call.node.shortcut is not None or isinstance(call.when, Literal)


def _values(graph: Graph) -> Iterator[Value]:
    yield from graph.outputs.values()
    for block in graph.blocks:
        yield from values_of(block)


def _stands_for(call: Call) -> Value | None:
    """Give the value that a call is known to give; None where it has to be made."""
    if isinstance(call.when, Literal) and not call.when.value:
        return call.otherwise or Literal(None)
    shortcut = call.node.shortcut
    if shortcut is None or call.when is not None:
        return None
    asked = {
        name: call.arguments.get(name, Literal(call.node.parameters[name].default))
        for name in signature(shortcut).parameters
    }
    known = {name: value.value for name, value in asked.items() if isinstance(value, Literal)}
    if len(known) < len(asked):
        return None
    port = shortcut(**known)
    return None if port is None else call.arguments.get(port)
