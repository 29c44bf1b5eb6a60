"""Runs a checked graph.

All that is the same at every step is settled once, before anything runs: every name becomes a
number, every value a function that reads it, every block a function that runs it.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from operator import itemgetter
from typing import Any

from graph import (
    Block,
    Call,
    Graph,
    ListOf,
    Literal,
    Loop,
    Reference,
    Value,
    calls_of,
    has_effect,
    values_of,
)

from .blame import misfit_of
from .capture import Captured, NotCaptured, Record
from .checkpoint import Checkpoint, Reached
from .errors import OutOfMemory, RunError, node_failed
from .events import (
    CaptureRefused,
    Listen,
    LoopFinished,
    LoopStarted,
    NodeFinished,
    NodeStarted,
    StepFinished,
)
from .values import common_length, last_uses_of, names_in, supplied

Slots = list[Any]
"""What each name holds, by the name's number; None where nobody needs it yet, or any more."""
Read = Callable[[Slots], Any]
Run = Callable[[Slots], None]
Keep = Callable[[Block, Any], None]


Left = tuple[list[Any], list[Any], Any]
"""What a step of a loop leaves behind: the carries, what is collected, whether to stop."""
Step = Callable[[Slots], Left]


def evaluate(
    plan: Graph,
    known: Mapping[str, Any],
    machine: Mapping[str, Any],
    listen: Listen | None = None,
    keep: Keep | None = None,
    record: Record | None = None,
    checkpoint: Checkpoint | None = None,
    each_node: bool = False,
) -> dict[str, Any]:
    """Run every block and give the outputs by name.

    `known` holds the inputs, and what else is known beforehand, by name; `machine` what the machine
    supplies, by its ambient name. Of the nodes inside loops `listen` is told only if they are
    effects, or with `each_node`. `keep` is handed the value of every block outside loops. `record`
    records the bodies of loops. `checkpoint` says where outermost loops begin, and is told of their
    steps. A value is let go as soon as no later block needs it. Raises RunError where a node fails.
    """
    compiler = _Compiler(plan, machine, listen, record, {}, each_node)
    runs = compiler.blocks(plan.blocks, names_in(plan.outputs.values()), keep, checkpoint)
    outputs = {name: compiler.read(value) for name, value in plan.outputs.items()}
    numbers = {name: compiler.number(name) for name in known}
    slots: Slots = [None] * len(compiler.numbers)
    for name, value in known.items():
        slots[numbers[name]] = value
    try:
        for run in runs:
            run(slots)
    except OutOfMemory as error:
        for block in plan.blocks:
            if error.call.name in {call.name for call in calls_of((block,))}:
                break
            error.made[block.name] = slots[compiler.number(block.name)]
        raise
    return {name: read(slots) for name, read in outputs.items()}


@dataclass(frozen=True)
class _Compiler:
    plan: Graph
    machine: Mapping[str, Any]
    listen: Listen | None
    record: Record | None
    numbers: dict[str, int]
    each_node: bool
    inside: bool = False  # a loop

    def number(self, name: str) -> int:
        return self.numbers.setdefault(name, len(self.numbers))

    def side_by_side(self, names: Iterable[str]) -> slice:
        """Number the variables of a loop in a row, so that a step writes them all at once."""
        numbers = [self.number(name) for name in names]
        return slice(numbers[0], numbers[-1] + 1) if numbers else slice(0)

    def blocks(
        self,
        blocks: tuple[Block, ...],
        kept: set[str],
        keep: Keep | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> list[Run]:
        """Run blocks in turn; what only they need, and is not to be kept, is let go in between."""
        runs: list[Run] = []
        for block, done_with in zip(blocks, last_uses_of(blocks, kept), strict=True):
            if isinstance(block, Loop):
                at_start = done_with - names_in(_inside(block)) - {block.name}
                runs.append(self.loop(block, at_start, checkpoint))
                done_with -= at_start
            else:
                runs.append(self.call(block))
            if keep:
                runs.append(_keeping(keep, block, self.number(block.name)))
            if done_with:
                runs.append(self.letting_go(done_with))
        return runs

    def letting_go(self, names: Iterable[str]) -> Run:
        numbers = [*map(self.number, names)]

        def run(slots: Slots) -> None:
            for number in numbers:
                slots[number] = None

        return run

    def read(self, value: Value) -> Read:
        match value:
            case Reference():
                return _reading(self.number(value.name), value.fields)
            case Literal():
                return _giving(value.value)
            case ListOf():
                return _listing([*map(self.read, value.items)])

    def call(self, call: Call) -> Run:
        run = self.plain_call(call)
        if call.when is None:
            return run
        otherwise = self.read(call.otherwise or Literal(None))
        return _running_when(self.read(call.when), run, otherwise, self.number(call.name))

    def plain_call(self, call: Call) -> Run:
        function, number = call.node.function, self.number(call.name)
        told = self.each_node or call.node.effect or not self.inside
        listen = self.listen if told else None
        constant = supplied(call, self.machine)
        reads: list[tuple[str, Read]] = []
        for name, value in call.arguments.items():
            if isinstance(value, Literal):
                constant[name] = value.value
            else:
                reads.append((name, self.read(value)))

        def run(slots: Slots) -> None:
            if listen:
                listen(NodeStarted(call))
            arguments = constant.copy()
            try:
                for name, read in reads:
                    arguments[name] = read(slots)
                value = slots[number] = function(**arguments)
            except Exception as error:
                raise self.failure(call, arguments, slots, error) from error
            if listen:
                listen(NodeFinished(call, value))

        return run

    def failure(
        self, call: Call, arguments: Mapping[str, Any], slots: Slots, error: Exception
    ) -> RunError:
        """Describe why a node failed: that may be for what another gave."""
        failed = node_failed(call, arguments, error)
        if isinstance(failed, OutOfMemory):
            return failed
        return self.misfit(call, arguments, slots, error) or failed

    def misfit(
        self, block: Block, arguments: Mapping[str, Any], slots: Slots, error: Exception
    ) -> RunError | None:
        values = {name: slots[number] for name, number in self.numbers.items()}
        return misfit_of(self.plan, block, arguments, values, error)

    def loop(self, loop: Loop, at_start: set[str], checkpoint: Checkpoint | None) -> Run:
        """Run a loop; the names of `at_start` are needed no more once it has begun."""
        sequences = {key: self.read(value) for key, value in loop.sequences.items()}
        items = self.side_by_side(loop.variable(key) for key in loop.sequences)
        states = self.side_by_side(loop.variable(key) for key in loop.carry)
        starts = [self.read(carry.start) for carry in loop.carry.values()]
        step = self.step(loop)
        if self.record:
            step = self.recorded(loop, step)
        let_go, listen, number = self.letting_go(at_start), self.listen, self.number(loop.name)

        def run(slots: Slots) -> None:
            try:
                walked = {key: read(slots) for key, read in sequences.items()}
                steps = common_length(loop, walked)
                slots[states] = [read(slots) for read in starts]
            except (AttributeError, TypeError) as error:
                if misfit := self.misfit(loop, {}, slots, error):
                    raise misfit from error
                raise
            let_go(slots)
            collected: dict[str, list[Any]] = {key: [] for key in loop.collect}
            if listen:
                listen(LoopStarted(loop, steps))
            begin, done = time.perf_counter(), 0
            if checkpoint and (reached := checkpoint.resume(loop)):
                done, slots[states] = reached.done, reached.carried
                collected = dict(zip(loop.collect, reached.collected, strict=True))
            for row in islice(zip(*walked.values(), strict=True), done, None):
                slots[items] = row
                slots[states], made, stop = step(slots)
                for key, value in zip(collected, made, strict=True):
                    collected[key].append(value)
                done += 1
                if checkpoint and not stop:
                    checkpoint.step(loop, Reached(done, slots[states], [*collected.values()]))
                if listen:
                    listen(StepFinished(loop, done, steps))
                if stop:
                    break
            slots[number] = dict(zip(loop.carry, slots[states], strict=True)) | collected
            slots[items], slots[states] = [None] * len(loop.sequences), [None] * len(loop.carry)
            if listen:
                listen(LoopFinished(loop, done, time.perf_counter() - begin))

        return run

    def step(self, loop: Loop) -> Step:
        """Run a loop's body once."""
        leaving = [carry.then for carry in loop.carry.values()]
        handed_on = [*leaving, *loop.collect.values(), *([loop.until] if loop.until else [])]
        kept, own = names_in(handed_on), _made_in(loop)
        needed = kept | (names_in(_inside(loop)) - own)
        runs = replace(self, inside=True).blocks(loop.body, needed)
        carried = self.read(ListOf(tuple(leaving)))
        collected = self.read(ListOf(tuple(loop.collect.values())))
        stop = self.read(loop.until or Literal(False))
        let_go = self.letting_go(kept & own)

        def step(slots: Slots) -> Left:
            for run in runs:
                run(slots)
            left = carried(slots), collected(slots), stop(slots)
            let_go(slots)
            return left

        return step

    def recorded(self, loop: Loop, plain: Step) -> Step:
        """Run a loop's body by a recording of it, and plainly once that turns out not to do."""
        reason = _why_not(loop)
        if reason or self.record is None:
            self.refuse(loop, reason)
            return plain
        quiet = replace(self, listen=None, record=None).step(loop)
        variables = [loop.variable(key) for key in (*loop.sequences, *loop.carry)]
        outside = sorted(names_in(_inside(loop)) - _made_in(loop))
        given = [self.number(name) for name in (*variables, *outside)]

        def work(values: list[Any]) -> list[Any]:
            slots: Slots = [None] * len(self.numbers)
            for number, value in zip(given, values, strict=True):
                slots[number] = value
            return list(quiet(slots)[:2])

        captured: Captured | None = Captured(work, self.record)

        def step(slots: Slots) -> Left:
            nonlocal captured
            if captured:
                try:
                    carried, collected = captured([slots[number] for number in given])
                    return carried, collected, False
                except NotCaptured as error:
                    captured = None
                    self.refuse(loop, str(error))
            return plain(slots)

        return step

    def refuse(self, loop: Loop, reason: str) -> None:
        if self.listen:
            self.listen(CaptureRefused(loop, reason))


def _keeping(keep: Keep, block: Block, number: int) -> Run:
    return lambda slots: keep(block, slots[number])


# These closures have functions of their own: what a closure holds takes a cell in every call of the
# function around it, also where the closure is not made.
def _giving(constant: Any) -> Read:
    return lambda slots: constant  # noqa: ARG005


def _listing(items: list[Read]) -> Read:
    return lambda slots: [item(slots) for item in items]


def _running_when(when: Read, run: Run, otherwise: Read, number: int) -> Run:
    def run_when(slots: Slots) -> None:
        if when(slots):
            run(slots)
        else:
            slots[number] = otherwise(slots)

    return run_when


def _reading(number: int, fields: tuple[str, ...]) -> Read:
    read: Read = itemgetter(number)
    for name in fields:
        read = _reading_field(read, name)
    return read


def _reading_field(read: Read, name: str) -> Read:
    def read_field(slots: Slots) -> Any:
        whole: dict[str, Any] | tuple[Any, ...] = read(slots)  # a loop's value, or a NamedTuple
        return whole[name] if isinstance(whole, dict) else getattr(whole, name)

    return read_field


def _why_not(loop: Loop) -> str:
    """Say why a loop's body cannot be recorded, as far as the graph tells."""
    if has_effect(loop):
        return "it has an effect at every step"
    return "it may stop after any step" if loop.until else ""


def _made_in(loop: Loop) -> set[str]:
    """Name what a step of a loop makes or is given anew, also in loops inside it."""
    names = {loop.variable(key) for key in (*loop.sequences, *loop.carry)}
    for block in loop.body:
        names |= {block.name} | (_made_in(block) if isinstance(block, Loop) else set())
    return names


def _inside(loop: Loop) -> Iterable[Value]:
    """Walk over what a loop needs while it runs, but for what it begins with."""
    for block in loop.body:
        yield from values_of(block)
    yield from (carry.then for carry in loop.carry.values())
    yield from loop.collect.values()
    if loop.until:
        yield loop.until
