"""A typed function becomes a node type, or the import says why not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from pydantic import Field

from graph import Ambient, Kind, Registry, node_type, node_types

Latents = Annotated[list, Kind("latents")]
Device = Annotated[str, Ambient("device")]


def double(
    value: Latents, times: Annotated[int, Field(ge=1, description="how often")] = 2, *, on: Device
) -> Latents:
    """Double a value.

    More is said here.
    """
    return [on] * times + value


def test_a_node_is_its_function() -> None:
    registry = Registry()
    assert registry.node(double) is double
    assert registry.node(effect=True, batched=True)(double) is double


def test_a_node_type() -> None:
    registry = Registry()
    registry.node(effect=True)(double)
    kind = registry.types["double"]
    assert (kind.name, kind.function, kind.module) == ("double", double, __name__)
    assert (kind.effect, kind.batched) == (True, False)
    assert kind.result == Latents
    assert kind.doc == "Double a value.\n\nMore is said here."
    value, times, on = kind.parameters.values()
    assert (value.name, value.annotation, value.required) == ("value", Latents, True)
    assert (times.required, times.default, times.help) == (False, 2, "how often")
    assert (on.required, on.default, on.ambient) == (False, None, "device")


def untyped(value) -> int:  # type: ignore[no-untyped-def]
    """Say."""
    return value


def no_result(value: int):  # type: ignore[no-untyped-def]
    """Say."""
    return value


def no_words(value: int) -> int:
    return value


def many(*values: int) -> int:
    """Say."""
    return len(values)


def options(**values: int) -> int:
    """Say."""
    return len(values)


def positional(value: int, /) -> int:
    """Say."""
    return value


def reserved(graph: int) -> int:
    """Say."""
    return graph


def unresolved(value: Missing) -> int:  # type: ignore[name-defined]  # noqa: F821
    """Say."""
    return value


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (untyped, "node 'untyped' needs an annotation for 'value'"),
        (no_result, "node 'no_result' needs a return annotation"),
        (no_words, "node 'no_words' needs a docstring of one sentence that says what it does"),
        (many, "node 'many' has a parameter 'values' that cannot be given by its name"),
        (options, "node 'options' has a parameter 'values' that cannot be given by its name"),
        (positional, "node 'positional' has a parameter 'value' that cannot be given by its name"),
        (reserved, "node 'reserved' cannot name a parameter 'graph', a word of graph files"),
        (unresolved, "node 'unresolved' has an annotation that cannot be resolved: name 'Missing'"),
    ],
)
def test_refusals(function: Callable[..., Any], why: str) -> None:
    registry = Registry()
    with pytest.raises(TypeError) as caught:
        registry.node(function)
    place, _, said = str(caught.value).partition(": ")
    assert place == f"{__file__}:{function.__code__.co_firstlineno}"
    assert said.startswith(why)
    assert not registry.types


def test_names_clash_but_a_reload_does_not() -> None:
    registry = Registry()
    registry.node(double)
    registry.node(double)

    def other() -> int:
        """Say."""
        return 1

    other.__name__ = "double"
    with pytest.raises(TypeError, match=f"node 'double' is already a node of {__name__}"):
        registry.node(other)


def test_the_registry_of_the_process() -> None:
    for name, kind in node_types().items():
        assert node_type(name) is kind
    with pytest.raises(KeyError):
        node_type("there is no such node")


def test_import_is_light() -> None:
    code = (
        "import sys, graph; print([m for m in ('torch', 'networkx', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
