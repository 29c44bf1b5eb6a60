"""What can be done to hold less, in the order in which it is tried; each is a pass over a plan."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch

from graph import (
    Block,
    Call,
    Graph,
    Literal,
    Loop,
    NodeType,
    Reference,
    Sparing,
    Value,
    calls_of,
    values_of,
)

from ..batch import call_together, one_by_one
from ..plan.rename import changed_blocks, substituting
from ..values import loaders_of, names_in
from .rest import BRING, BRING_BY_LAYER, is_model

Pass = Callable[[Graph, str], Graph]
"""Lets the call of a name hold less; gives the very same plan where it cannot."""


class Rung(NamedTuple):
    """A measure: what it does, in words, and the pass that does it."""

    words: str
    apply: Pass


class Saving(NamedTuple):
    """A measure that was taken, by its name, for a call of a plan."""

    rung: str
    call: str


def in_tiles(plan: Graph, name: str, size: int) -> Graph:
    """Let a call that can work in tiles do so, in those of one of the sizes it offers."""

    def change(call: Call) -> Call:
        smaller = {
            port: Literal(values[size])
            for port, values in _sparing(call.node).items()
            if size < len(values) and _is_larger(call, port, values[size])
        }
        return replace(call, arguments=call.arguments | smaller) if smaller else call

    return _with_call(plan, name, change)


def _sparing(node: NodeType) -> dict[str, tuple[int, ...]]:
    """Give what a node's ports offer that spare memory."""
    return {
        name: extra.values
        for name, parameter in node.parameters.items()
        for extra in getattr(parameter.annotation, "__metadata__", ())
        if isinstance(extra, Sparing)
    }


def _is_larger(call: Call, port: str, value: int) -> bool:
    given = call.arguments.get(port, Literal(call.node.parameters[port].default))
    return isinstance(given, Literal) and (given.value is None or given.value > value)


def rest(plan: Graph, name: str) -> Graph:  # noqa: ARG001  # all models, whichever call is short
    """Let models rest in host memory, and be on the device for the blocks alone that use them.

    Models that are made of such models are made, and rest, where they are.
    """
    loaders = {id(call) for call in loaders_of(plan.blocks)}
    resting: set[str] = set()
    blocks: list[Block] = []
    for block in plan.blocks:
        used = sorted(names_in(values_of(block)) & resting)
        if id(block) in loaders or (used and _makes_models(block)):
            resting.add(block.name)
            (block,) = _loaded_on_host((block,), loaders)
        elif used:
            copies = {model: _bringing(model, block) for model in used}
            blocks += copies.values()
            names: dict[str, Value] = {old: Reference(new.name) for old, new in copies.items()}
            (block,) = changed_blocks((block,), substituting(names))
        blocks.append(block)
    return replace(plan, blocks=tuple(blocks)) if resting else plan


def _makes_models(block: Block) -> bool:
    made = block.result.values() if isinstance(block, Loop) else [block.result]
    return all(map(is_model, made))


def _loaded_on_host(blocks: tuple[Block, ...], loaders: set[int]) -> Iterator[Block]:
    for block in blocks:
        if isinstance(block, Loop):
            yield replace(block, body=tuple(_loaded_on_host(block.body, loaders)))
        elif id(block) in loaders:
            ports = block.node.parameters.values()
            host = {it.name: Literal(torch.device("cpu")) for it in ports if it.ambient == "device"}
            yield replace(block, arguments=block.arguments | host)
        else:
            yield block


def _bringing(model: str, block: Block) -> Call:
    # No name in a graph file has a space.
    name = f"{model} for {block.name}"
    return Call(name, BRING, {"model": Reference(model)}, None, None, block.place, Any)


def stream(plan: Graph, name: str) -> Graph:
    """Let the models of a call, or of the loop that it is in, be on the device layer by layer."""
    rested = rest(plan, name)
    block = next(it for it in rested.blocks if name in {it.name, *_names_inside(it)})
    models = names_in(values_of(block)) | {name}
    blocks = tuple(
        replace(it, node=BRING_BY_LAYER)
        if isinstance(it, Call) and it.node is BRING and it.name in models
        else it
        for it in rested.blocks
    )
    same = all(new is old for new, old in zip(blocks, rested.blocks, strict=True))
    return plan if same else replace(rested, blocks=blocks)


def _names_inside(block: Block) -> set[str]:
    return {call.name for call in calls_of((block,))}


def split(plan: Graph, name: str) -> Graph:
    """Let a call that works on each picture by itself be made for one picture at a time."""

    def change(call: Call) -> Call:
        function = call.node.function
        if isinstance(function, partial) and function.func is call_together:
            inner, *others = function.args
            together = partial(call_together, partial(one_by_one, inner), *others)
            return replace(call, node=replace(call.node, function=together))
        if call.node.batched:
            alone = replace(call.node, function=partial(one_by_one, function), batched=False)
            return replace(call, node=alone)
        return call

    return _with_call(plan, name, change)


RUNGS: Mapping[str, Rung] = {
    "rest": Rung("models rest until a block uses them", rest),
    "tiles": Rung("in tiles", partial(in_tiles, size=0)),
    "small tiles": Rung("in small tiles", partial(in_tiles, size=1)),
    "split": Rung("one picture at a time", split),
    "stream": Rung("models layer by layer", stream),
}


def _with_call(plan: Graph, name: str, change: Callable[[Call], Call]) -> Graph:
    blocks = _changed(plan.blocks, name, change)
    return plan if blocks is plan.blocks else replace(plan, blocks=blocks)


def _changed(
    blocks: tuple[Block, ...], name: str, change: Callable[[Call], Call]
) -> tuple[Block, ...]:
    """Change the call of a name; blocks that stay as they are are the same object."""
    done: list[Block] = []
    for block in blocks:
        if isinstance(block, Loop):
            body = _changed(block.body, name, change)
            done.append(block if body is block.body else replace(block, body=body))
        else:
            done.append(change(block) if block.name == name else block)
    same = all(new is old for new, old in zip(done, blocks, strict=True))
    return blocks if same else tuple(done)
