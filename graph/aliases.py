"""What stands for something else: the outputs of subgraphs, which are gone from a checked graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from .blocks import Block, Call, Carry, ListOf, Reference, Value
from .errors import Finding
from .scope import UNKNOWN


@dataclass
class Aliases:
    """The values that names stand for, and what was found wrong in following them."""

    findings: list[Finding]
    values: dict[str, Value] = field(default_factory=dict[str, Value])
    cyclic: set[str] = field(default_factory=set[str])

    def follow(self, value: Value, seen: tuple[str, ...] = ()) -> Value:
        """Replace every alias in a value by what it stands for."""
        if isinstance(value, ListOf):
            return replace(value, items=tuple(self.follow(item, seen) for item in value.items))
        while isinstance(value, Reference) and value.name in self.values:
            if value.name in seen:
                self._report_cycle(seen[seen.index(value.name) :], value)
                return UNKNOWN
            seen = (*seen, value.name)
            target = self.values[value.name]
            if not isinstance(target, Reference):
                return self._inner(target, value, seen)
            value = Reference(target.name, target.fields + value.fields, value.place)
        return value

    def _report_cycle(self, names: tuple[str, ...], reference: Reference) -> None:
        # Each way into the cycle leads here, but it is one mistake.
        if self.cyclic.isdisjoint(names):
            cycle = " -> ".join((*names, names[0]))
            self.findings.append(Finding(reference.place, f"a cycle: {cycle}"))
        self.cyclic.update(names)

    def _inner(self, target: Value, reference: Reference, seen: tuple[str, ...]) -> Value:
        if not reference.fields:
            return self.follow(target, seen)
        message = f"a literal has no field '{reference.fields[0]}'"
        self.findings.append(Finding(reference.place, message))
        return UNKNOWN

    def follow_all(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Follow each of several values."""
        return {name: self.follow(value) for name, value in values.items()}

    def follow_block(self, block: Block) -> Block:
        """Follow every value of a block, also inside a loop's body."""
        if isinstance(block, Call):
            return replace(
                block,
                arguments=self.follow_all(block.arguments),
                when=block.when and self.follow(block.when),
                otherwise=block.otherwise and self.follow(block.otherwise),
            )
        return replace(
            block,
            sequences=self.follow_all(block.sequences),
            carry={
                name: Carry(self.follow(carry.start), self.follow(carry.then))
                for name, carry in block.carry.items()
            },
            body=tuple(self.follow_block(inner) for inner in block.body),
            collect=self.follow_all(block.collect),
            until=block.until and self.follow(block.until),
        )
