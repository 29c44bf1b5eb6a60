"""What may flow along an edge, and whether one annotation feeds another."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import (
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from .errors import listed


@dataclass(frozen=True)
class Kind:
    """What a value means, beside its Python type.

    `Latents = Annotated[Tensor, Kind("latents", "B C H W")]`; an axis that is a number, or several
    (`1|3`), has that length, and `...` at the end stands for any further axes. `help` says to
    people what it is, and the range of its values.
    """

    name: str
    axes: str = ""
    help: str = field(default="", compare=False)


@dataclass(frozen=True)
class Ambient:
    """Marks a parameter that the machine supplies.

    `Device = Annotated[torch.device, Ambient("device")]`
    """

    name: str


@dataclass(frozen=True)
class Written:
    """Marks a parameter that names the file that an effect writes.

    `PicturePath = Annotated[str, Written()]`
    """


@dataclass(frozen=True)
class Sparing:
    """Marks a parameter that makes a call hold less memory, and says what to try, largest first.

    `Tile = Annotated[int | None, Sparing((512, 256))]`
    """

    values: tuple[int, ...]


Bindings = dict[Any, Any]
"""What each TypeVar stands for in one call."""


def base_of(annotation: Any) -> Any:
    """Strip what `Annotated` adds."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def kind_of(annotation: Any) -> Kind | None:
    """Find the kind that `Annotated` adds, if any."""
    if get_origin(annotation) is not Annotated:
        return None
    return next((extra for extra in get_args(annotation)[1:] if isinstance(extra, Kind)), None)


def class_of(annotation: Any) -> type[Any] | None:
    """Find the class behind an annotation; None if there is none, as behind a union."""
    base: Any = base_of(annotation)
    found: Any = get_origin(base) or base
    return cast("type[Any]", found) if isinstance(found, type) and found is not Any else None


def members(annotation: Any) -> list[Any]:
    """List what a union offers; any other annotation offers itself."""
    base = annotation if kind_of(annotation) else base_of(annotation)
    if get_origin(base) not in (Union, types.UnionType):
        return [base]
    return [inner for member in get_args(base) for inner in members(member)]


def kinds_of(annotation: Any) -> list[Kind]:
    """List the kinds that an annotation offers."""
    return [kind for kind in map(kind_of, members(annotation)) if kind]


def feeds(source: Any, target: Any, bindings: Bindings | None = None) -> bool:
    """Tell whether a value annotated `source` may flow into a parameter annotated `target`.

    A TypeVar in the target is bound in `bindings` to what feeds it; where the answer is no,
    nothing is bound.
    """
    known: Bindings = {} if bindings is None else bindings
    trial = dict(known)
    if not _feeds(source, target, trial):
        return False
    known.update(trial)
    return True


def _feeds(source: Any, target: Any, bindings: Bindings) -> bool:
    if isinstance(target, TypeVar):
        return _binds(source, target, bindings)
    sources, targets = members(source), members(target)
    if len(sources) > 1:
        return all(feeds(member, target, bindings) for member in sources)
    if len(targets) > 1:
        # A TypeVar is asked last, so that `T | None` fed with None binds nothing.
        ordered = sorted(targets, key=lambda member: isinstance(member, TypeVar))
        return any(feeds(sources[0], member, bindings) for member in ordered)
    source, target = sources[0], targets[0]
    if source is Any or isinstance(source, TypeVar) or target is Any or target is object:
        return True
    wanted, found = kind_of(target), kind_of(source)
    if wanted or found:
        same = wanted is None or (found is not None and found.name == wanted.name)
        return same and feeds(base_of(source), base_of(target), bindings)
    if get_origin(source) is Literal:
        return _literal_feeds(source, target)
    return _class_feeds(source, target, bindings)


def _binds(source: Any, target: TypeVar, bindings: Bindings) -> bool:
    bound = bindings.get(target)
    if bound is not None and feeds(source, bound):
        return True
    allowed = target.__constraints__ or (target.__bound__ or object,)
    if not any(feeds(source, choice) for choice in allowed):
        return False
    # The wider of two types stands for both, whichever port was named first.
    if bound is not None and not feeds(bound, source):
        return False
    bindings[target] = source
    return True


def _literal_feeds(source: Any, target: Any) -> bool:
    values: set[tuple[Any, Any]] = {(type(value), value) for value in get_args(source)}
    if get_origin(target) is Literal:
        return values <= {(type(value), value) for value in get_args(target)}
    return all(feeds(kind, target) for kind, _ in values)


def _class_feeds(source: Any, target: Any, bindings: Bindings) -> bool:
    if source == target:
        return True
    found, wanted = class_of(source), class_of(target)
    if found is None or wanted is None:
        return False
    if wanted in (int, float) and issubclass(found, int):
        return found is not bool
    # A text is one value here, though Python lets it be walked letter by letter.
    if issubclass(found, str | bytes) and wanted.__module__ == "collections.abc":
        return False
    return _is_subclass(found, wanted) and _items_feed(source, target, bindings)


def _is_subclass(found: type, wanted: type | types.UnionType) -> bool:
    try:
        return issubclass(found, wanted)
    except TypeError:  # a Protocol that cannot be asked at run time
        return False


def _items_feed(source: Any, target: Any, bindings: Bindings) -> bool:
    given, wanted = get_args(source), get_args(target)
    if not given or not wanted:
        return True
    if get_origin(source) is tuple:
        items = given[:-1] if given[-1] is Ellipsis else given
        if wanted[-1] is Ellipsis or get_origin(target) is not tuple:
            return all(feeds(item, wanted[0], bindings) for item in items)
        if len(items) < len(given):
            return False
        given = items
    return len(given) == len(wanted) and all(
        feeds(item, place, bindings) for item, place in zip(given, wanted, strict=True)
    )


def substitute(annotation: Any, bindings: Mapping[Any, Any]) -> Any:
    """Put what they are bound to in the place of TypeVars; an unbound one may be anything."""
    if isinstance(annotation, TypeVar):
        return bindings.get(annotation, Any)
    if class_of(annotation) is annotation:
        return annotation
    variables: tuple[Any, ...] = getattr(annotation, "__parameters__", ())
    if not variables:
        return annotation
    return annotation[tuple(bindings.get(variable, Any) for variable in variables)]


def item_type(annotation: Any) -> Any | None:
    """Find what `for` gets when it walks over a value; None if that cannot be walked."""
    offers = members(annotation)
    if len(offers) > 1:
        items = [item_type(offer) for offer in offers]
        return None if None in items else Union[tuple(items)]  # noqa: UP007
    base = base_of(offers[0])
    if base is Any:
        return Any
    found, args = class_of(base), get_args(base)
    if found is None or _is_subclass(found, str | bytes | Mapping):
        return None
    if _is_subclass(found, tuple) and args:
        return Union[tuple(arg for arg in args if arg is not Ellipsis)]  # noqa: UP007
    if found.__module__ in ("builtins", "collections.abc"):
        walkable = hasattr(found, "__getitem__") and hasattr(found, "__len__")
        return (args[0] if args else Any) if walkable else None
    return _returned(getattr(found, "__getitem__", None)) if hasattr(found, "__len__") else None


def _returned(method: Callable[..., Any] | None) -> Any | None:
    if not isinstance(method, types.FunctionType):
        return None
    return get_type_hints(method, include_extras=True).get("return")


def fields_of(annotation: Any) -> dict[str, Any]:
    """List the fields of a NamedTuple or a dataclass with their annotations; else nothing."""
    found = class_of(annotation)
    return _class_fields(found) if found else {}


@lru_cache(maxsize=1024)
def _class_fields(found: type[Any]) -> dict[str, Any]:
    names: Iterable[str] = getattr(found, "_fields", ())
    if dataclasses.is_dataclass(found):
        names = [field.name for field in dataclasses.fields(found)]
    hints = get_type_hints(found, include_extras=True) if names else {}
    return {name: hints.get(name, Any) for name in names}


def describe(annotation: Any) -> str:
    """Say in words what an annotation takes: `latents`, `int`, `list of image`, `int or 'auto'`."""
    kind = kind_of(annotation)
    if kind:
        return kind.name
    offers = members(annotation)
    if len(offers) > 1:
        return listed(dict.fromkeys(describe(offer) for offer in offers), "or")
    base: Any = offers[0]
    if base is Any or base is object:
        return "anything"
    if base is types.NoneType:
        return "null"
    if isinstance(base, TypeVar):
        return describe(base.__bound__ or Any)
    origin: Any = get_origin(base)
    args: tuple[Any, ...] = get_args(base)
    if origin is Literal:
        return listed((repr(value) for value in args), "or")
    name: str = getattr(origin or base, "__name__", str(base))
    words = [describe(arg) for arg in args if arg is not Ellipsis]
    if not words or not _is_subclass(origin, Collection):
        return name
    if len(words) == 1:
        return f"list of {words[0]}"
    if issubclass(origin, Mapping):
        return f"mapping of {' to '.join(words)}"
    return f"{name} of {listed(words)}"
