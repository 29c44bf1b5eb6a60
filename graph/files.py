"""Where graph files are, and what is in them."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Protocol

from .errors import Finding, GraphError, Place, did_you_mean, listed
from .spec import Parsed, parse
from .text import read

SUFFIX = ".yaml"
FOR_EDITORS = "# yaml-language-server:"
"""How the comment begins that tells an editor where the schema is."""


class Library(Protocol):
    """Where graph files are found that others use."""

    def find(self, name: str, user: Path | None, place: Place | None) -> Path:
        """Find what a file calls by a name; raises GraphError, at `place`, where it is not."""
        ...

    def read(self, path: Path) -> tuple[str, Parsed]:
        """Read a file's text and parse it."""
        ...


class OnDisk:
    """The files of this machine."""

    def find(self, name: str, user: Path | None, place: Place | None) -> Path:
        """Find a file beside its user, or among the shipped graphs."""
        return find_graph(name, user and user.parent, place)

    def read(self, path: Path) -> tuple[str, Parsed]:
        """Read a file's text and parse it."""
        return read_graph(path)


def shipped_graphs() -> list[str]:
    """List the names of the graphs that come with the project."""
    return sorted(_shipped())


def find_graph(name: str | Path, beside: Path | None = None, place: Place | None = None) -> Path:
    """Find a graph file: as a path, with `.yaml` added, then among the shipped graphs.

    A relative path starts at the folder `beside`, or else at the current one. Raises GraphError,
    at `place`, where there is none.
    """
    near = (beside or Path()) / name
    for path in (near, near.with_name(near.name + SUFFIX)):
        if path.is_file():
            return path
    shipped = _shipped()
    wanted = str(name).removesuffix(SUFFIX)
    if wanted in shipped:
        return shipped[wanted]
    help = did_you_mean(wanted, shipped)
    if shipped and not help:
        help = f"the shipped graphs are {listed(sorted(shipped))}"
    raise GraphError([Finding(place, f"there is no graph '{name}'", help)])


def _shipped() -> dict[str, Path]:
    try:
        entries = list(resources.files("graphs").iterdir())
    except ModuleNotFoundError:
        return {}
    paths = [Path(str(entry)) for entry in entries]
    return {path.stem: path for path in paths if path.suffix == SUFFIX}


def read_graph(path: Path) -> tuple[str, Parsed]:
    """Read a file's text and parse it; raises GraphError where it is no text or no YAML."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        where = Place(str(path), 1, 1)
        raise GraphError([Finding(where, f"this is not UTF-8 text: {error.reason}")]) from None
    return text, parse(read(text, str(path)))


def leading_comment(text: str) -> str:
    """Return the block of comments that opens a file, without its signs and the editor's line."""
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith(FOR_EDITORS):
            continue
        if not line.startswith("#"):
            break
        lines.append(line[1:].removeprefix(" ").rstrip())
    return "\n".join(lines)
