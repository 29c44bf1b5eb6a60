"""Types that nobody declares: an input has the type of the parameters it flows into."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, get_args

from .blocks import Literal
from .errors import Finding, Place
from .kinds import Ambient, Kind, describe, feeds, members
from .literals import Unfit, is_writable, validate


@dataclass(frozen=True)
class Demand:
    """A parameter that something of yet unknown type flows into."""

    annotation: Any
    port: str
    help: str = ""


@dataclass
class Open:
    """Something of yet unknown type; what walks over `parent` is an item of it."""

    name: str
    place: Place
    parent: Open | None = None
    demands: list[Demand] = field(default_factory=list[Demand])

    def demand(self, demand: Demand) -> None:
        """Note a parameter that this flows into."""
        if any(other.annotation == demand.annotation for other in self.demands):
            return
        self.demands.append(demand)
        if self.parent:
            whole = Demand(list[demand.annotation], demand.port, demand.help)
            self.parent.demand(whole)

    def settle(self, findings: list[Finding]) -> Any:
        """Find the type that meets every demand, with all limits; report demands that disagree."""
        if not self.demands:
            return Any
        for demand in self.demands:
            if all(feeds(demand.annotation, other.annotation) for other in self.demands):
                return _with_limits(demand.annotation, self.demands)
        first = self.demands[0]
        other = next(
            other for other in self.demands if not feeds(first.annotation, other.annotation)
        )
        message = (
            f"{self.name} flows into {first.port}, which takes {describe(first.annotation)},"
            f" and into {other.port}, which takes {describe(other.annotation)}"
        )
        findings.append(Finding(self.place, message, "make two of it"))
        return Any


def _with_limits(annotation: Any, demands: list[Demand]) -> Any:
    for demand in demands:
        extras: tuple[Any, ...] = getattr(demand.annotation, "__metadata__", ())
        limits = [extra for extra in extras if not isinstance(extra, Kind | Ambient)]
        own: tuple[Any, ...] = getattr(annotation, "__metadata__", ())
        if limits and limits != list(own) and len(members(demand.annotation)) == 1:
            annotation = Annotated[annotation, *limits]
    return annotation


def fit(literal: Literal, annotation: Any, port: str, findings: list[Finding]) -> Literal:
    """Validate a literal for where it goes; report it if it may not go there."""
    try:
        return Literal(validate(literal.value, annotation), literal.place)
    except Unfit as unfit:
        help = unfit.help if is_writable(annotation) else "wire it with $name"
        findings.append(Finding(literal.place, f"{port} {unfit.message}", help))
        return literal


def item_annotation(annotation: Any) -> Any:
    """Return the type of an item of what a list may be given to; None if no list may."""
    for member in members(annotation):
        if member is Any or member is object:
            return Any
        args = get_args(member)
        if args and feeds(list[args[0]], member):
            return args[0]
        if args and feeds(tuple[args[0], ...], member):
            return args[0]
    return None
