"""Runs a checked graph: its blocks in order, its loops step by step."""

import time
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, cast

from graph import Block, Call, Graph, ListOf, Literal, Loop, Reference, Value, references, values_of

from .errors import RunError, node_failed
from .events import Listen, LoopFinished, LoopStarted, NodeFinished, NodeStarted, StepFinished

UNKNOWN: Any = object()
"""Stands for a value that a check cannot know."""


def evaluate(
    graph: Graph, inputs: Mapping[str, Any], machine: Mapping[str, Any], listen: Listen
) -> dict[str, Any]:
    """Run every block and give the outputs by name.

    `machine` holds what the machine supplies, by its ambient name. A value is let go as soon as
    no later block needs it. Raises RunError where a node fails.
    """
    values: dict[str, Any] = dict(inputs)
    last_use = last_uses(graph)
    for position, block in enumerate(graph.blocks):
        _run(block, values, machine, listen)
        for name in last_use.get(position, ()):
            values.pop(name, None)
    return {name: value_of(value, values) for name, value in graph.outputs.items()}


def _run(block: Block, values: dict[str, Any], machine: Mapping[str, Any], listen: Listen) -> None:
    if isinstance(block, Loop):
        _run_loop(block, values, machine, listen)
    elif block.when is None or value_of(block.when, values):
        values[block.name] = _call(block, values, machine, listen)
    else:
        values[block.name] = None if block.otherwise is None else value_of(block.otherwise, values)


def arguments_of(
    call: Call, values: Mapping[str, Any], machine: Mapping[str, Any]
) -> dict[str, Any]:
    """Give what a node is called with: what the graph gives, and what the machine supplies."""
    arguments = {name: value_of(value, values) for name, value in call.arguments.items()}
    for name, parameter in call.node.parameters.items():
        if parameter.ambient is not None and name not in arguments:
            arguments[name] = machine[parameter.ambient]
    return arguments


def _call(call: Call, values: Mapping[str, Any], machine: Mapping[str, Any], listen: Listen) -> Any:
    arguments = arguments_of(call, values, machine)
    listen(NodeStarted(call))
    begin = time.perf_counter()
    try:
        value = call.node.function(**arguments)
    except Exception as error:
        raise node_failed(call, arguments, error) from error
    listen(NodeFinished(call, time.perf_counter() - begin, value))
    return value


def _run_loop(
    loop: Loop, values: dict[str, Any], machine: Mapping[str, Any], listen: Listen
) -> None:
    sequences = {key: value_of(value, values) for key, value in loop.sequences.items()}
    steps = common_length(loop, sequences)
    state = {key: value_of(carry.start, values) for key, carry in loop.carry.items()}
    collected: dict[str, list[Any]] = {key: [] for key in loop.collect}
    listen(LoopStarted(loop, steps))
    begin = time.perf_counter()
    done = 0
    for items in zip(*sequences.values(), strict=True):
        values |= {loop.variable(key): item for key, item in zip(sequences, items, strict=True)}
        values |= {loop.variable(key): value for key, value in state.items()}
        for block in loop.body:
            _run(block, values, machine, listen)
        state = {key: value_of(carry.then, values) for key, carry in loop.carry.items()}
        for key, value in loop.collect.items():
            collected[key].append(value_of(value, values))
        done += 1
        listen(StepFinished(loop, done - 1, steps))
        if loop.until is not None and value_of(loop.until, values):
            break
    for name in [loop.variable(key) for key in (*sequences, *state)] + [b.name for b in loop.body]:
        values.pop(name, None)
    values[loop.name] = state | collected
    listen(LoopFinished(loop, done, time.perf_counter() - begin))


def common_length(loop: Loop, sequences: Mapping[str, Sequence[Any]]) -> int:
    """Count the steps of a loop; raises RunError where its sequences differ in length."""
    lengths = {key: len(sequence) for key, sequence in sequences.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{key} has {length}" for key, length in lengths.items())
        raise RunError(loop.place, f"the sequences of '{loop.name}' differ in length: {found}")
    return next(iter(lengths.values()))


def value_of(value: Value, values: Mapping[str, Any]) -> Any:
    """Give what a literal, a reference or a list stands for; what is of UNKNOWN is UNKNOWN."""
    match value:
        case Literal():
            return value.value
        case Reference():
            return reduce(_field, value.fields, values[value.name])
        case ListOf():
            return [value_of(item, values) for item in value.items]


def _field(whole: Any, name: str) -> Any:
    """Take a field: of a loop's value, which is a dictionary, or of what a node gave."""
    if whole is UNKNOWN:
        return UNKNOWN
    return cast("dict[str, Any]", whole)[name] if isinstance(whole, dict) else getattr(whole, name)


def last_uses(graph: Graph) -> dict[int, list[str]]:
    """Say which names no block after a position needs."""
    last: dict[str, int] = {}
    for position, block in enumerate(graph.blocks):
        used = (found.name for value in values_of(block) for found in references(value))
        last |= dict.fromkeys((block.name, *used), position)
    kept = {found.name for value in graph.outputs.values() for found in references(value)}
    uses: dict[int, list[str]] = {}
    for name, position in last.items():
        if name not in kept:
            uses.setdefault(position, []).append(name)
    return uses
