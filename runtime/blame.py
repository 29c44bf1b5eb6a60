"""Who is to blame for a failure: a node may have been given what another should not have made."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from graph import Block, Call, Graph, Loop, Reference, references

from .axes import misfit
from .errors import Misfit, brief


def misfit_of(
    plan: Graph,
    block: Block,
    arguments: Mapping[str, Any],
    values: Mapping[str, Any],
    error: Exception,
) -> Misfit | None:
    """Say what a block was given that does not have its kind, in the words of a check, if anything.

    It is said of the node that made it, at its place; where that is not known, as of what a loop
    hands from step to step, of the port. `arguments` are what could be read of those of a call,
    `values` what every name of the plan holds.
    """
    so = f"\n  so {_who(block)} failed: {type(error).__name__}: {error}"
    given = block.arguments if isinstance(block, Call) else block.sequences
    blocks = dict(_by_name(plan.blocks))
    for reference in references(given.values()):
        for maker, wrong in _wrong_makers(reference, blocks, values):
            return Misfit(maker.place, f"{_who(maker)}: what it gives must {wrong}{so}")
    if isinstance(block, Call):
        ports = block.node.parameters
        for name in [name for name in given if name in arguments and name in ports]:
            if wrong := misfit(arguments[name], ports[name].annotation):
                place = given[name].place or block.place
                return Misfit(place, f"{_who(block)}: `{name}` must {wrong}{so}")
    return None


def _who(block: Block) -> str:
    if isinstance(block, Loop):
        return f"the loop '{block.name}'"
    return f"'{block.name}' ({block.node.name})"


def _by_name(blocks: Iterable[Block]) -> Iterator[tuple[str, Block]]:
    for block in blocks:
        yield block.name, block
        if isinstance(block, Loop):
            yield from _by_name(block.body)


def _wrong_makers(
    reference: Reference, blocks: Mapping[str, Block], values: Mapping[str, Any]
) -> Iterator[tuple[Call, str]]:
    """Find the call that made what a reference names, if that does not have the kind it gives."""
    value: Any = values.get(reference.name)
    maker, fields = blocks.get(reference.name), reference.fields
    if isinstance(maker, Loop):
        carry = maker.carry.get(fields[0]) if fields else None
        if carry is None or not isinstance(carry.then, Reference) or carry.then.fields:
            return
        maker, value, fields = blocks.get(carry.then.name), value[fields[0]], fields[1:]
    if not isinstance(maker, Call) or (maker.when and value is None):
        return
    if fields and not (isinstance(value, dict) or hasattr(value, fields[0])):
        yield maker, f"have `{fields[0]}`, found {brief(value)}"
    elif wrong := misfit(value, maker.node.result):
        yield maker, wrong
