"""Loops that walk the same sequence are one loop, which takes each step of all of them at once."""

from dataclasses import dataclass, field, replace
from itertools import chain

from graph import Block, Graph, Loop, Reference, Value, in_order, references, values_of

from ..values import names_in
from .rename import changed_blocks, changed_loop, with_blocks


def merge_loops(graph: Graph) -> Graph:
    """Merge loops of which none needs another, none may end early, and one sequence is the same.

    What they hold is in memory at the same time then, so this is no pass of every plan: it is worth
    it where the calls in them can become one, as those of two runs of one graph.
    """
    values = chain(graph.outputs.values(), *map(values_of, graph.blocks))
    whole = {found.name for found in references(values) if not found.fields}
    renamed = _Renamed(whole)
    return with_blocks(graph, _merged(graph.blocks, renamed), renamed)


@dataclass
class _Renamed:
    """What references become: `$a/loop.state` is the field `a/loop/state` of the merged loop."""

    whole: set[str]
    variables: dict[str, str] = field(default_factory=dict[str, str])
    loops: dict[str, str] = field(default_factory=dict[str, str])

    def __call__(self, found: Reference) -> Reference:
        if found.name in self.variables:
            return replace(found, name=self.variables[found.name])
        if found.name not in self.loops:
            return found
        fields = (f"{found.name}/{found.fields[0]}", *found.fields[1:])
        return replace(found, name=self.loops[found.name], fields=fields)


def _merged(blocks: tuple[Block, ...], renamed: _Renamed) -> tuple[Block, ...]:
    while loops := _find_loops(blocks, renamed.whole):
        merged = _merge(loops, renamed)
        at = blocks.index(loops[-1])
        left = [block for block in (*blocks[:at], merged, *blocks[at:]) if block not in loops]
        blocks = tuple(in_order(changed_blocks(tuple(left), renamed), []))
    return tuple(
        changed_loop(block, _merged(block.body, renamed), renamed)
        if isinstance(block, Loop)
        else block
        for block in blocks
    )


def _find_loops(blocks: tuple[Block, ...], whole: set[str]) -> list[Loop]:
    """Find all loops that can be one with the first of which there are several."""
    loops = {block.name for block in blocks if isinstance(block, Loop)}
    groups: list[list[Loop]] = []
    needs: dict[str, set[str]] = {}  # of the loops, also through other blocks
    for block in blocks:
        names = names_in(values_of(block))
        needs[block.name] = (names & loops).union(*(needs.get(name, ()) for name in names))
        if not isinstance(block, Loop) or block.until or block.name in whole:
            continue
        for group in groups:
            needed = needs[block.name] & {loop.name for loop in group}
            if not needed and _walk_together(group[0], block):
                group.append(block)
                break
        else:
            groups.append([block])
    several = [group for group in groups if len(group) > 1]
    return several[0] if several else []


def _walk_together(one: Loop, other: Loop) -> bool:
    return any(value in other.sequences.values() for value in one.sequences.values())


def _merge(loops: list[Loop], renamed: _Renamed) -> Loop:
    """Make the one loop, whose variables are called as they were, but for equal sequences."""
    name = "+".join(loop.name for loop in loops)
    sequences: dict[str, Value] = {}
    for loop in loops:
        for key, value in loop.sequences.items():
            own = loop.variable(key)
            same = next((key for key, other in sequences.items() if other == value), own)
            sequences[same] = value
            renamed.variables[own] = f"{name}/{same}"
        renamed.variables |= {own: f"{name}/{own}" for own in map(loop.variable, loop.carry)}
        renamed.loops[loop.name] = name

    return Loop(
        name,
        sequences,
        {loop.variable(key): carry for loop in loops for key, carry in loop.carry.items()},
        tuple(chain.from_iterable(loop.body for loop in loops)),
        {loop.variable(key): value for loop in loops for key, value in loop.collect.items()},
        None,
        loops[0].place,
        {loop.variable(key): each for loop in loops for key, each in loop.result.items()},
    )
