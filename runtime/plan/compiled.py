"""Networks that loops call are compiled, in front of the first such loop."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast, get_args

from torch import nn

from graph import (
    Block,
    Call,
    Graph,
    Loop,
    Place,
    Reference,
    base_of,
    fields_of,
    references,
    values_of,
)

from ..compiler import COMPILED, SUFFIX
from .rename import changed_blocks


def compile_networks(graph: Graph) -> Graph:
    """Let loops call compiled networks; what is called once is not worth the compiling.

    A network is compiled by a call of its own. What a loop changes, as LoRAs change a network one
    after the other, is not called there.
    """
    annotations: dict[str, Any] = {name: it.annotation for name, it in graph.inputs.items()}
    made: dict[tuple[str, ...], Reference] = {}
    blocks: list[Block] = []

    def change(reference: Reference) -> Reference:
        return made.get((reference.name, *reference.fields), reference)

    for block in graph.blocks:
        if isinstance(block, Loop):
            for reference in references(value for it in block.body for value in values_of(it)):
                path = (reference.name, *reference.fields)
                if path not in made and _holds_networks(_annotation(path, annotations)):
                    call = _compiling(reference, block.place)
                    made[path] = Reference(call.name)
                    blocks.append(call)
            block = replace(block, body=changed_blocks(block.body, change))
        annotations[block.name] = block.result
        blocks.append(block)
    return replace(graph, blocks=tuple(blocks))


def _compiling(reference: Reference, place: Place) -> Call:
    name = ".".join((reference.name, *reference.fields))
    arguments = {"network": reference}
    return Call(name + SUFFIX, COMPILED, dict(arguments), None, None, place, Any)


def _annotation(path: tuple[str, ...], annotations: Mapping[str, Any]) -> Any:
    name, *fields = path
    found = annotations.get(name)
    for field in fields:
        own = cast("dict[str, Any]", found) if isinstance(found, dict) else fields_of(found)
        found = own.get(field)
    return found


def _holds_networks(annotation: Any) -> bool:
    """Tell whether a value is a network, or a list of them, as far as its annotation says."""
    base = base_of(annotation)
    if isinstance(base, type) and issubclass(base, nn.Module):
        return True
    return any(_holds_networks(inner) for inner in get_args(base))
