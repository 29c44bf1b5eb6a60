"""Runs a graph on the meta device, where tensors have shapes and types but hold no numbers.

The nodes themselves are the rules: what they refuse there, they would refuse in a run. Models are
built of their configs alone, loops are walked one step deep, and nothing is saved.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from graph import (
    Block,
    Call,
    Finding,
    Graph,
    GraphError,
    ListOf,
    Loop,
    Place,
    Value,
    listed,
    prune,
    values_of,
)

from .axes import misfit
from .errors import brief
from .memory.rest import is_model
from .meter import FusedAttention, Meter
from .mixing import MixedError
from .plan import make_plan, share_equal_calls
from .tensors import leaves_of
from .values import UNKNOWN, arguments_of, common_length, last_uses, loaders_of, names_in, value_of


@dataclass(frozen=True)
class Cost:
    """What one block takes: floating-point operations of one call, times the calls of a run.

    `parameters` and `weight_bytes` are those of the models that it gave, but for what they share
    with models that it was given; `peak_bytes` are the most that weights and tensors hold together
    while it is called.
    """

    name: str
    node: str
    calls: int
    flops: int
    parameters: int
    weight_bytes: int
    peak_bytes: int


@dataclass
class Report:
    """What a check found: mistakes, the value of every block in words, and what they cost.

    `absent` are the findings that only say that a checkpoint or a file is not there, each once.
    `unchecked` names the blocks that need numbers, so that shapes alone do not tell their value.
    `peak_bytes` are the most that weights and tensors hold together at one time.
    """

    findings: list[Finding] = field(default_factory=list[Finding])
    absent: list[Finding] = field(default_factory=list[Finding])
    shapes: dict[str, str] = field(default_factory=dict[str, str])
    costs: list[Cost] = field(default_factory=list[Cost])
    unchecked: list[str] = field(default_factory=list[str])
    peak_bytes: int = 0

    @property
    def flops(self) -> int:
        """Count the floating-point operations of the whole run."""
        return sum(cost.calls * cost.flops for cost in self.costs)


def check_shapes(graph: Graph, inputs: Mapping[str, Any], dtype: torch.dtype) -> Report:
    """Run a graph without numbers; inputs that must be given and are not stay unknown."""
    return _walk(share_equal_calls(prune(graph)), inputs, dtype)


def foresee(graph: Graph, inputs: Mapping[str, Any], dtype: torch.dtype) -> Report:
    """Say what a run of a right graph costs: that of its plan, where calls are merged and moved."""
    return estimate(make_plan(graph, inputs), inputs, dtype)


def estimate(plan: Graph, inputs: Mapping[str, Any], dtype: torch.dtype) -> Report:
    """Say what a plan costs."""
    return _walk(plan, inputs, dtype)


def weigh(plan: Graph, inputs: Mapping[str, Any], dtype: torch.dtype) -> Report:
    """Say what the weights of a plan alone take, in a fraction of the time of a whole check."""
    return _walk(plan, inputs, dtype, only=set(map(id, loaders_of(plan.blocks))))


def _walk(
    plan: Graph, inputs: Mapping[str, Any], dtype: torch.dtype, only: Set[int] | None = None
) -> Report:
    machine = {"device": torch.device("meta"), "dtype": dtype}
    unset = dict.fromkeys(plan.inputs, UNKNOWN)
    check = _Check(machine, Report(), Meter(), only)
    with torch.no_grad(), FusedAttention(), check.meter:
        check.blocks(plan.blocks, unset | dict(inputs), 1, last_uses(plan))
    check.report.peak_bytes = check.meter.peak
    check.report.absent = list(map(_once, check.absent.values()))
    check.report.findings += check.report.absent
    check.report.findings = list(GraphError(check.report.findings).findings)
    return check.report


@dataclass
class _Check:
    machine: Mapping[str, Any]
    report: Report
    meter: Meter
    only: Set[int] | None
    resting: set[str] = field(default_factory=set[str])
    absent: dict[str, list[tuple[str, Finding]]] = field(
        default_factory=dict[str, list[tuple[str, Finding]]]
    )

    def blocks(
        self,
        blocks: tuple[Block, ...],
        values: dict[str, Any],
        times: int,
        uses: Iterable[Iterable[str]],
    ) -> None:
        for block, done_with in zip(blocks, uses, strict=True):
            if isinstance(block, Loop):
                values[block.name] = self.loop(block, values, times)
            else:
                values[block.name] = self.call(block, values, times)
            for name in done_with:
                values.pop(name, None)

    def call(self, call: Call, values: Mapping[str, Any], times: int) -> Any:
        """Call a node whether or not its `when` holds, for it may hold at another step."""
        if self.only is not None and id(call) not in self.only:
            return UNKNOWN
        arguments = arguments_of(call, values, self.machine)
        arguments.pop("when", None)  # that of several calls in one
        # A device that the graph names would have its weights read.
        arguments |= {
            name: self.machine["device"]
            for name, parameter in call.node.parameters.items()
            if parameter.ambient == "device"
        }
        if not self.fit(call, arguments) or call.node.effect:
            return UNKNOWN
        before, self.meter.peak = self.meter.peak, self.meter.now
        flops = self.meter.flops
        self.meter.elsewhere = self.rests(call)
        try:
            value = call.node.function(**arguments)
        except Exception as error:
            if _needs_numbers(error):
                self.report.unchecked.append(call.name)
            elif isinstance(error, FileNotFoundError):
                finding = _finding(call, arguments, error)
                self.absent.setdefault(str(error), []).append((call.name, finding))
            else:
                self.report.findings.append(_finding(call, arguments, error))
            self.meter.peak = max(before, self.meter.peak)
            return UNKNOWN
        finally:
            self.meter.elsewhere = False
        given = {id(weight) for weight in _weights(arguments)}
        weights = [weight for weight in _weights(value) if id(weight) not in given]
        if weights and not given:  # they are converted as they are read: it holds what it gives
            self.meter.peak = self.meter.now
        peak, self.meter.peak = self.meter.peak, max(before, self.meter.peak)
        self.report.costs.append(
            Cost(
                call.name, call.node.name, times, self.meter.flops - flops,
                sum(weight.numel() for weight in weights),
                sum(weight.nbytes for weight in weights),
                peak,
            )
        )  # fmt: skip
        self.report.shapes[call.name] = shape_words(value)
        if wrong := misfit(value, call.node.result):
            message = f"'{call.name}' ({call.node.name}): what it gives must {wrong}"
            self.report.findings.append(Finding(call.place, message))
            return UNKNOWN
        return value

    def rests(self, call: Call) -> bool:
        """Tell whether what a call gives is not on the device of the run, and note it.

        The graph names another for it, or it is a model that is made of one which rests.
        """
        named = any(call.node.parameters[name].ambient == "device" for name in call.arguments)
        rests = named or (bool(names_in(values_of(call)) & self.resting) and is_model(call.result))
        if rests:
            self.resting.add(call.name)
        return rests

    def fit(self, call: Call, arguments: Mapping[str, Any]) -> bool:
        """Tell whether a node can be called: all it is given is known, and has the right axes."""
        known = {name: value for name, value in arguments.items() if not _is_unknown(value)}
        wrong = {
            name: found
            for name, value in known.items()
            if name in call.arguments
            and (found := misfit(value, call.node.parameters[name].annotation))
        }
        for name, found in wrong.items():
            message = f"'{call.name}' ({call.node.name}): `{name}` must {found}"
            place = call.arguments[name].place or call.place
            self.report.findings.append(Finding(place, message))
        return len(known) == len(arguments) and not wrong

    def loop(self, loop: Loop, values: dict[str, Any], times: int) -> Any:
        sequences = {key: value_of(value, values) for key, value in loop.sequences.items()}
        start = {key: value_of(carry.start, values) for key, carry in loop.carry.items()}
        if _is_unknown(list(sequences.values())):
            return UNKNOWN
        try:
            steps = common_length(loop, sequences)
        except Exception as error:
            message = getattr(error, "message", str(error))
            self.report.findings.append(Finding(loop.place, message))
            return UNKNOWN
        if steps == 0:
            return start | {key: list[Any]() for key in loop.collect}
        values |= {loop.variable(key): next(iter(sequence)) for key, sequence in sequences.items()}
        values |= {loop.variable(key): value for key, value in start.items()}
        self.resting |= {
            loop.variable(key)
            for key, carry in loop.carry.items()
            if names_in([carry.start]) & self.resting
        }
        self.blocks(loop.body, values, times * steps, [()] * len(loop.body))
        state = {key: value_of(carry.then, values) for key, carry in loop.carry.items()}
        for key, carry in loop.carry.items():
            self.compare_carry(key, start[key], state[key], carry.then, loop.place)
        collected = {key: [value_of(item, values)] * steps for key, item in loop.collect.items()}
        inner = [loop.variable(key) for key in (*sequences, *state)]
        for name in inner + [block.name for block in loop.body]:
            values.pop(name, None)
        return state | collected

    def compare_carry(self, key: str, start: Any, then: Any, value: Value, place: Place) -> None:
        entered, left = shape_words(start), shape_words(then)
        # What is not there at the first step, a null, may come to be.
        if start is not None and not _is_unknown([start, then]) and entered != left:
            self.report.findings.append(
                Finding(
                    value.place or place,
                    f"carry '{key}' enters a step as {entered} and leaves it as {left}",
                    "what is handed from step to step must keep its shape, precision and device",
                )
            )


def shape_words(value: Any) -> str:
    """Say in a few words what a value is: a tensor's sides and type, a model's class."""
    if value is None or isinstance(value, str | int | float | Tensor):
        return brief(value).removesuffix(" on meta")
    if isinstance(value, list | tuple):
        names: tuple[str, ...] = getattr(cast("Any", value), "_fields", ())
        items = [shape_words(item) for item in cast("list[Any]", value)]
        if names:
            return ", ".join(f"{name} {item}" for name, item in zip(names, items, strict=True))
        same = len(set(items)) == 1 and len(items) > 1
        return f"{len(items)} of {items[0]}" if same else f"[{', '.join(items)}]"
    return type(value).__name__


def _is_unknown(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(_is_unknown(item) for item in cast("list[Any]", value))
    if isinstance(value, dict):
        return any(_is_unknown(item) for item in cast("dict[str, Any]", value).values())
    return value is UNKNOWN


def _modules(value: Any) -> list[nn.Module]:
    return [leaf for leaf in leaves_of(value) if isinstance(leaf, nn.Module)]


def _weights(value: Any) -> Iterator[Tensor]:
    for module in _modules(value):
        yield from module.parameters()
        yield from module.buffers()


def _needs_numbers(error: Exception) -> bool:
    text = str(error).lower()
    return isinstance(error, RuntimeError) and "meta" in text and "device" not in text


def _once(found: list[tuple[str, Finding]]) -> Finding:
    """Say where it was found first that something is not there, and who else wants it."""
    (_, first), *others = found
    names = [f"'{name}'" for name, _ in others]
    return replace(first, help=f"wanted by {listed(names)} too") if names else first


def _finding(call: Call, arguments: Mapping[str, Any], error: Exception) -> Finding:
    """Place a node's refusal at the argument that its message names first, if it names one.

    What PyTorch or Python say of a node that does not look at its inputs goes into the help.
    """
    who = f"'{call.name}' ({call.node.name})"
    if isinstance(error, OSError) and error.strerror:
        return Finding(call.place, f"{who}: '{error.filename}': {error.strerror}")
    if isinstance(error, ValueError | OSError):
        words = re.findall(r"`(\w+)`|^(\w+) must", str(error))
        named = [name for pair in words for name in pair if name in call.arguments]
        value = call.arguments[named[0]] if named else None
        place = value.place if value is not None and not isinstance(value, ListOf) else None
        return Finding(place or call.place, f"{who}: {error}")
    inputs = ", ".join(
        f"{name} {shape_words(value)}"
        for name, value in arguments.items()
        if name in call.arguments
    )
    said = next(iter(str(error).strip().splitlines()), "")
    if isinstance(error, MixedError):
        message, help = f"{who} cannot compute with {inputs}", said
    elif isinstance(error, RuntimeError):
        message, help = f"{who} cannot compute with {inputs}", f"PyTorch says: {said}"
    else:
        message, help = f"{who} fails: {type(error).__name__}: {said}", f"it was given {inputs}"
    return Finding(call.place, message, help)
