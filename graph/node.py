"""`@node`: a typed function becomes a node type."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints, overload

from pydantic.fields import FieldInfo

from .errors import Finding, listed
from .kinds import Ambient
from .packs import NodeTypes

F = TypeVar("F", bound=Callable[..., Any])
Reads = Callable[..., Iterable[Path]]
"""Finds the files that a call of a node would read; takes some of the node's parameters."""

RESERVED = frozenset({"node", "graph", "for", "carry", "nodes", "when", "else", "until", "collect"})
"""The words of graph files, which cannot name a parameter."""


@dataclass(frozen=True)
class Parameter:
    """One port of a node type; an `ambient` one is supplied where the graph gives nothing."""

    name: str
    annotation: Any
    required: bool
    default: Any
    ambient: str | None
    help: str


@dataclass(frozen=True)
class NodeType:
    """A registered function, which is called with keyword arguments.

    `source` is the file that defines it, and `digest` the SHA-256 of that file's text as it was
    then; both are None where there is no file, as in a notebook.
    """

    name: str
    function: Callable[..., Any]
    parameters: Mapping[str, Parameter]
    result: Any
    doc: str
    effect: bool
    batched: bool
    shortcut: Callable[..., str | None] | None
    module: str
    reads: Reads | None
    source: Path | None
    digest: str | None


class Registry:
    """The node types that a graph may name."""

    def __init__(self) -> None:
        self.types: NodeTypes = NodeTypes()
        """Every node type by its name; those of packs once they are looked up."""

    @overload
    def node(self, function: F) -> F: ...

    @overload
    def node(
        self,
        *,
        effect: bool = False,
        batched: bool = False,
        shortcut: Callable[..., str | None] | None = None,
        reads: Reads | None = None,
    ) -> Callable[[F], F]: ...

    def node(
        self,
        function: F | None = None,
        *,
        effect: bool = False,
        batched: bool = False,
        shortcut: Callable[..., str | None] | None = None,
        reads: Reads | None = None,
    ) -> F | Callable[[F], F]:
        """Register a typed function as a node type and return the very same function.

        An `effect` always runs and is never cached. A `batched` node works on each picture by
        itself: its tensors have pictures along their first axis, one for each or one for all, and
        twin calls may be merged into one. A `shortcut` takes some of the parameters, by their
        names, and names the one that the result then is, exactly, or gives None. A node that reads
        files says with `reads` which, so that its results are made anew when they change. Raises
        TypeError where the function cannot be a node: an untyped parameter, no docstring, a taken
        name.
        """

        def register(function: F) -> F:
            self._add(
                node_type_of(
                    function, effect=effect, batched=batched, shortcut=shortcut, reads=reads
                )
            )
            return function

        return register(function) if function is not None else register

    def _add(self, new: NodeType) -> None:
        new = replace(new, name=self.types.prefix + new.name)
        old = self.types.own.get(new.name)
        # A module that is reloaded defines its nodes again: that is not a clash.
        if old and (old.module, old.function.__qualname__) != (
            new.module,
            new.function.__qualname__,
        ):
            raise _refusal(new.function, f"is already a node of {old.module}")
        self.types.own[new.name] = new


registry = Registry()
node = registry.node


def open_all_packs() -> list[Finding]:
    """Register the node types of all installed packs; gives what is wrong with those that fail."""
    return registry.types.open_all()


def node_types() -> NodeTypes:
    """Every registered node type by its name."""
    return registry.types


def node_type(name: str) -> NodeType:
    """Look up one registered node type; raises KeyError if there is none of that name."""
    return registry.types[name]


def node_type_of(
    function: Callable[..., Any],
    *,
    effect: bool = False,
    batched: bool = False,
    shortcut: Callable[..., str | None] | None = None,
    reads: Reads | None = None,
) -> NodeType:
    """Make the node type of a function; raises TypeError where it cannot be a node."""
    doc = inspect.getdoc(function)
    if not doc:
        raise _refusal(function, "needs a docstring of one sentence that says what it does")
    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError as error:
        raise _refusal(function, f"has an annotation that cannot be resolved: {error}") from error
    if "return" not in hints:
        raise _refusal(function, "needs a return annotation")
    parameters = {
        name: _parameter(function, port, hints)
        for name, port in inspect.signature(function).parameters.items()
    }
    unknown = set(inspect.signature(reads).parameters if reads else ()) - set(parameters)
    if unknown:
        raise _refusal(
            function, f"reads files by {listed(sorted(unknown))}, which it does not take"
        )
    source = Path(function.__code__.co_filename)
    return NodeType(
        name=function.__name__,
        function=function,
        parameters=parameters,
        result=hints["return"],
        doc=doc,
        effect=effect,
        batched=batched,
        shortcut=shortcut,
        module=function.__module__,
        reads=reads,
        source=source if source.is_file() else None,
        digest=_digest(source, source.stat().st_mtime_ns) if source.is_file() else None,
    )


@lru_cache
def _digest(file: Path, changed: int) -> str:  # noqa: ARG001  # a module may be loaded again
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _parameter(
    function: Callable[..., Any], port: inspect.Parameter, hints: Mapping[str, Any]
) -> Parameter:
    if port.kind not in (port.POSITIONAL_OR_KEYWORD, port.KEYWORD_ONLY):
        raise _refusal(function, f"has a parameter '{port.name}' that cannot be given by its name")
    if port.name in RESERVED:
        raise _refusal(function, f"cannot name a parameter '{port.name}', a word of graph files")
    if port.name not in hints:
        raise _refusal(function, f"needs an annotation for '{port.name}'")
    annotation = hints[port.name]
    extras = get_args(annotation)[1:] if hasattr(annotation, "__metadata__") else ()
    ambient = next((extra.name for extra in extras if isinstance(extra, Ambient)), None)
    help = next((extra.description for extra in extras if isinstance(extra, FieldInfo)), None)
    given = port.default is not port.empty
    return Parameter(
        name=port.name,
        annotation=annotation,
        required=not given and ambient is None,
        default=port.default if given else None,
        ambient=ambient,
        help=help or "",
    )


def _refusal(function: Callable[..., Any], why: str) -> TypeError:
    code = function.__code__
    return TypeError(f"{code.co_filename}:{code.co_firstlineno}: node '{function.__name__}' {why}")
