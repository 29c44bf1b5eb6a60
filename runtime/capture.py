"""The body of a loop recorded once and replayed at every step, for devices that can do that.

A recording computes from tensors at fixed addresses to tensors at fixed addresses. So what a step
is given is copied there, the recording replayed, and what it made copied out again. All that is no
tensor, such as a flag, is fixed in a recording: another value needs another one.
"""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor

Work = Callable[[], list[Any]]
Record = Callable[[Work, list[Tensor]], Work]
"""Takes work on these fixed tensors and gives what does it once more; raises NotCaptured."""
Function = Callable[[list[Any]], list[Any]]

MOST = 8
"""How many recordings a loop may need: flags make a few, a number of every step too many."""
PLAIN = (str, int, float, bool, type(None))


class NotCaptured(Exception):
    """Work could not be recorded; the text says why."""


@dataclass
class Recording:
    """One recording, the tensors it reads, and what was copied there last."""

    inputs: list[Tensor]
    replay: Work
    given: list[Any]
    last: list[Tensor] = field(default_factory=list[Tensor])


class Captured:
    """A function of values, recorded for each kind of values that it is given.

    Raises NotCaptured where it cannot be recorded; the plain function is to be called then.
    """

    def __init__(self, function: Function, record: Record) -> None:
        self.function, self.record = function, record
        self.recordings: dict[Hashable, Recording] = {}

    def __call__(self, values: list[Any]) -> list[Any]:
        """Give what the function gives, in tensors of its own."""
        key = tuple(_outline(value) for value in values)
        recording = self.recordings.get(key)
        if recording is None:
            if len(self.recordings) == MOST:
                raise NotCaptured(f"its steps differ in more than tensors, {MOST} times and more")
            recording = self.recordings[key] = self._recorded(values)
        tensors = [tensor for value in values for tensor in _tensors(value)]
        for number, (tensor, own) in enumerate(zip(tensors, recording.inputs, strict=True)):
            if tensor is not recording.last[number]:
                own.copy_(tensor)
        recording.last = tensors
        return [_rebuilt(value, lambda tensor: tensor.clone()) for value in recording.replay()]

    def _recorded(self, values: list[Any]) -> Recording:
        inputs: list[Tensor] = []

        def own(tensor: Tensor) -> Tensor:
            inputs.append(tensor.clone())
            return inputs[-1]

        fixed = [_rebuilt(value, own) for value in values]
        replay = self.record(lambda: self.function(fixed), inputs)
        # `given` keeps what the key knows by its identity.
        return Recording(inputs, replay, values, [tensor for v in values for tensor in _tensors(v)])


def record_on_cuda(work: Work, inputs: list[Tensor]) -> Work:
    """Record work as a CUDA graph, and compare it once with the work itself."""
    if not all(tensor.is_cuda for tensor in inputs):
        # What is computed of it on the CPU would be no part of the recording, and stay as it was.
        raise NotCaptured("a step is given tensors that are not on the GPU")
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        plain = (
            work()
        )  # also what libraries set up at their first call, which no recording may hold
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            made = work()
    except Exception as error:
        first = str(error).strip().splitlines()[0]
        raise NotCaptured(f"CUDA cannot record it: {first}") from error

    def replay() -> list[Any]:
        graph.replay()
        return made

    check_equal(plain, replay())
    return replay


def check_equal(plain: list[Any], replayed: list[Any]) -> None:
    """Raise NotCaptured where a replay gives more than rounding away from the work itself."""
    pairs = zip(_all_tensors(plain), _all_tensors(replayed), strict=True)
    for one, other in pairs:
        allowed = 0.01 * one.float().abs().max()
        if not bool((one.float() - other.float()).abs().max() <= allowed):
            raise NotCaptured("its recording gives other numbers than the step itself")


def _all_tensors(values: list[Any]) -> list[Tensor]:
    return [tensor for value in values for tensor in _tensors(value)]


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in cast("list[Any]", value):
            yield from _tensors(item)


def _outline(value: Any) -> Hashable:
    """Give all of a value but the numbers in its tensors."""
    if isinstance(value, Tensor):
        return value.shape, value.dtype, value.device
    if isinstance(value, tuple | list):
        whole = cast("list[Any]", value)
        return type(whole), tuple(_outline(item) for item in whole)
    return (type(value), value) if isinstance(value, PLAIN) else id(value)


def _rebuilt(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Give a value with its tensors changed."""
    if isinstance(value, Tensor):
        return change(value)
    if not isinstance(value, tuple | list):
        return value
    whole = cast("list[Any]", value)
    items = [_rebuilt(item, change) for item in whole]
    return type(whole)(*items) if hasattr(whole, "_fields") else type(whole)(items)
