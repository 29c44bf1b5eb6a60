"""A graph with every file that it is made of, in one piece: what is kept beside a picture."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from .blocks import Graph, GraphText
from .check import check
from .errors import Finding, GraphError, Place
from .node import Registry, registry
from .spec import Parsed, parse
from .text import Mapping as Entries
from .text import Scalar, Tree, read

_LIKE_A_PATH = re.compile(r"""(^|[\s'"\[{,:])(/[^/\s]+/|[A-Za-z]:[\\/]|\\\\)""")


def load_bundle(files: Iterable[GraphText], registry: Registry = registry) -> Graph:
    """Load a graph, the first of these files, of them alone: no other file is looked at.

    Raises GraphError with every finding.
    """
    texts = {file.name: file for file in files}
    if not texts:
        raise GraphError([Finding(None, "there is no graph file in it")])
    root = Path(next(iter(texts)))
    library = _Bundled(texts)
    text, parsed = library.read(root)
    return check(parsed, root.stem, root, text, registry, library)


@dataclass(frozen=True)
class _Bundled:
    """Graph files in memory."""

    texts: Mapping[str, GraphText]

    def find(self, name: str, user: Path | None, place: Place | None) -> Path:
        found = self.texts[str(user)].uses.get(name)
        if found is None or found not in self.texts:
            raise GraphError([Finding(place, f"the graph '{name}' did not come with it")])
        return Path(found)

    def read(self, path: Path) -> tuple[str, Parsed]:
        text = self.texts[str(path)].text
        return text, parse(read(text, str(path)))


def without_folders(file: GraphText) -> GraphText:
    """Cut every absolute path in a graph file down to its last name: folders tell who one is."""
    if not _LIKE_A_PATH.search(file.text):
        return file  # reading YAML takes longer than a small network
    lines = file.text.splitlines(keepends=True)
    for found in sorted(_scalars(read(file.text, file.name)), key=_column, reverse=True):
        if isinstance(found.value, str):
            short = without_folder(found.value)
            line, column = found.place.line - 1, found.place.column - 1
            before, after = lines[line][:column], lines[line][column:]
            for written in (found.value, found.value.replace("\\", "\\\\")):
                after = after.replace(written, short, 1)
            lines[line] = before + after
    uses = {without_folder(name): to for name, to in file.uses.items()}
    return GraphText(file.name, "".join(lines), uses)


def without_folder(value: str) -> str:
    """Cut the absolute path of a file down to its last name; any other text stays as it is.

    What begins like a path but with no folder of this machine is a text.
    """
    path = PureWindowsPath(value)
    if len(path.parts) < 3:
        return value
    here = PurePosixPath(value).is_absolute() and Path("/", path.parts[1]).is_dir()
    return path.name if here or path.is_absolute() else value


def _column(scalar: Scalar) -> int:
    return scalar.place.column


def _scalars(tree: Tree) -> Iterator[Scalar]:
    if isinstance(tree, Scalar):
        yield tree
        return
    for inner in tree.entries.values() if isinstance(tree, Entries) else tree.items:
        yield from _scalars(inner)
