"""What went wrong, where, and what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

_BOLD, _RED, _CYAN = "1", "1;31", "36"  # as terminals number them


@dataclass(frozen=True)
class Place:
    """Where something stands in a file; lines and columns count from one.

    `used_from` is where another graph uses the one in that file.
    """

    file: str
    line: int
    column: int
    excerpt: str = field(default="", compare=False, repr=False)
    used_from: Place | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong; without a place where it did not come from a file."""

    place: Place | None
    message: str
    help: str | None = None

    @property
    def advice(self) -> str | None:
        """What may help, and which graphs use the one that it stands in."""
        users = [f"used from {user}" for user in self._users()]
        return "; ".join([*([self.help] if self.help else []), *users]) or None

    def _users(self) -> Iterator[Place]:
        user = self.place.used_from if self.place else None
        while user:
            yield user
            user = user.used_from

    def inside(self, user: Place | None) -> Finding:
        """Note where the file that this stands in is used."""
        if user is None or self.place is None or self.place.file == user.file:
            return self
        return replace(self, place=replace(self.place, used_from=user))

    def __str__(self) -> str:
        return self.render()

    def render(self, *, colour: bool = False) -> str:
        """Write the finding as text: place, message, source line with a caret, help."""

        def paint(text: str, code: str) -> str:
            return f"\033[{code}m{text}\033[0m" if colour else text

        if self.place is None:
            lines = [f"{paint('error', _RED)}: {paint(self.message, _BOLD)}"]
        else:
            lines = [f"{self.place}: {paint(self.message, _BOLD)}"]
            if self.place.excerpt:
                caret = " " * (self.place.column + 1) + paint("^", _RED)
                lines += [f"  {self.place.excerpt}", caret]
        if self.advice:
            lines.append(f"  {paint('help', _CYAN)}: {self.advice}")
        return "\n".join(lines)


class GraphError(Exception):
    """Everything that was found wrong with a graph or its inputs, in the order of the places."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(sorted(dict.fromkeys(findings), key=_position))
        super().__init__(self.findings)

    def __str__(self) -> str:
        return "\n".join(str(finding) for finding in self.findings)


def _position(finding: Finding) -> tuple[str, int, int]:
    place = finding.place
    return (place.file, place.line, place.column) if place else ("", 0, 0)


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """Find the valid name that is most like the given one; None where nothing is near."""
    return next(iter(difflib.get_close_matches(name, list(valid), n=1)), None)


def did_you_mean(name: str, valid: Iterable[str]) -> str | None:
    """Suggest the nearest valid name; None where nothing is near."""
    near = nearest(name, valid)
    return f"did you mean '{near}'?" if near else None


def listed(names: Iterable[str], last: str = "and") -> str:
    """Join names as prose does: `a, b and c`."""
    *most, end = list(names) or ["nothing"]
    return f"{', '.join(most)} {last} {end}" if most else end
