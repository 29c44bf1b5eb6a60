"""Whether a run fits its device, and what is done so that it does, before a weight is read."""

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

import torch

from graph import Finding, Graph, GraphError, calls_of

from ..check import Report, estimate, weigh
from ..errors import brief
from ..quantities import quantity
from ..values import loaders_of
from .ladder import DoesNotFit, Needs, Spared, climb, with_savings
from .rest import BRINGING
from .room import parse_bytes, room_on
from .rungs import Saving


class Fitting:
    """Has plans hold no more than there is room for on a device, and refuses those that cannot.

    `auto` is all that the device has for the run. A plan is estimated only if that may be too
    little: if its weights alone, which are counted in a fraction of the time, are more than half of
    it, or if a size was given. The same weights are counted once. `savings` are measures that are
    taken in any case.
    """

    def __init__(
        self,
        device: torch.device,
        dtype: torch.dtype,
        memory: str = "auto",
        savings: Iterable[Saving] = (),
    ) -> None:
        self.device, self.dtype, self.savings = device, dtype, tuple(savings)
        self.given = None if memory == "auto" else parse_bytes(memory)
        self._light: set[str] = set()

    def fit(self, plan: Graph, known: Mapping[str, Any]) -> Spared:
        """Give a plan that fits; raises GraphError where there is none."""
        plan = with_savings(plan, self.savings)
        room = self.room
        if room is None or (self.given is None and self._is_light(plan, known, room)):
            return Spared(plan, self.savings)
        report = Report()

        def needs_of(plan: Graph) -> Needs:
            nonlocal report
            report = estimate(plan, known, self.dtype)
            return {cost.name: cost.peak_bytes for cost in report.costs}

        try:
            spared = climb(plan, needs_of, room)
        except DoesNotFit as error:
            self._refuse(error, report, room)
        return spared._replace(savings=self.savings + spared.savings)

    @property
    def room(self) -> int | None:
        """The bytes that a run may have, None where that is not known."""
        return self.given or room_on(self.device)

    def _is_light(self, plan: Graph, known: Mapping[str, Any], room: int) -> bool:
        key = repr([(call.node.name, call.arguments) for call in loaders_of(plan.blocks)])
        if key not in self._light and weigh(plan, known, self.dtype).peak_bytes <= room // 2:
            self._light.add(key)
        return key in self._light

    def _refuse(self, error: DoesNotFit, report: Report, room: int) -> NoReturn:
        call = next(call for call in calls_of(error.spared.plan.blocks) if call.name == error.call)
        loaded = [it for it in report.costs if it.parameters and it.node not in BRINGING]
        weights = [f"{it.name} {quantity(it.weight_bytes, 'B')}" for it in loaded]
        message = (
            f"'{call.name}' ({call.node.name}) needs {quantity(error.need, 'B')} in "
            f"{brief(self.dtype)}, and {self.device} has {quantity(room, 'B')} for it; "
            f"weights: {', '.join(weights)}"
        )
        tried = "; ".join(map(str, error.spared.told))
        help = (
            "--dtype bfloat16 halves it" if self.dtype == torch.float32 else "a smaller checkpoint"
        )
        raise GraphError(
            [Finding(call.place, message, f"tried: {tried}; {help}" if tried else help)]
        )
