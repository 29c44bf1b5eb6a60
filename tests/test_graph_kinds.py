"""Which annotation feeds which."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Optional, TypeVar, Union

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from graph.kinds import Kind, describe, feeds, fields_of, item_type, substitute


class Tensor: ...


class Model: ...


class Unet(Model): ...


class Color(str, Enum):  # noqa: UP042 - as a node author on 3.10 would write it
    RED = "red"


@dataclass(frozen=True)
class Step:
    timestep: Tensor


class Schedule:
    def __len__(self) -> int:
        return 0

    def __getitem__(self, index: int) -> Step:
        raise IndexError(index)


class State(NamedTuple):
    sample: Annotated[Tensor, Kind("latents")]
    memory: list[Tensor]


Latents = Annotated[Tensor, Kind("latents", "B C H W")]
Image = Annotated[Tensor, Kind("image")]
T = TypeVar("T")
M = TypeVar("M", bound=Model)
N = TypeVar("N", int, str)


@pytest.mark.parametrize(
    ("source", "target", "answer"),
    [
        (int, int, True),
        (int, float, True),
        (float, int, False),
        (bool, int, False),
        (bool, float, False),
        (bool, bool, True),
        (int, bool, False),
        (int, Any, True),
        (Any, int, True),
        (Latents, object, True),
        (Unet, Model, True),
        (Model, Unet, False),
        (Latents, Latents, True),
        (Latents, Annotated[Tensor, Kind("latents", "other axes")], True),
        (Latents, Image, False),
        (Latents, Tensor, True),
        (Tensor, Latents, False),
        (Annotated[int, Field(ge=1)], int, True),
        (int, Annotated[int, Field(ge=1)], True),
        (Latents, Latents | None, True),
        (Latents, Optional[Tensor], True),  # noqa: UP045
        (Latents | None, Latents, False),
        (None, int, False),
        (type(None), int | None, True),
        (int | None, Annotated[int | None, Field(ge=1)], True),
        (Annotated[int | None, Field(ge=1)], int | None, True),
        (int | str, Union[str, int, float], True),  # noqa: UP007
        (int | str, int, False),
        (list[Latents], list[Latents], True),
        (list[Latents], list[Tensor], True),
        (list[Latents], list[Image], False),
        (list[int], Sequence[float], True),
        (Sequence[int], list[int], False),
        (list[int], list, True),
        (tuple[int, ...], Sequence[int], True),
        (tuple[int, int], tuple[int, ...], True),
        (tuple[int, str], tuple[int, ...], False),
        (tuple[int, ...], tuple[int, int], False),
        (tuple[int, str], tuple[float, str], True),
        (tuple[int, int], tuple[int], False),
        (list[int], tuple[int, ...], False),
        (str, Sequence[str], False),
        (str, Path, False),
        (dict[str, int], Mapping[str, float], True),
        (dict[str, int], dict[int, int], False),
        (Literal["a"], str, True),
        (Literal["a"], Literal["a", "b"], True),
        (Literal["a", "b"], Literal["a"], False),
        (str, Literal["a"], False),
        (Literal[1], Literal[True], False),
        (Literal[1], float, True),
        (Color, Color, True),
        (Color, str, True),
        (Callable[[int], str], Callable[[int], str], True),
        (Callable[[int], str], Callable[[str], str], False),
        (Unet, M, True),
        (Tensor, M, False),
        (int, N, True),
        (Latents, N, False),
    ],
)
def test_feeds(source: Any, target: Any, answer: bool) -> None:
    assert feeds(source, target) is answer


def test_type_variables_are_bound() -> None:
    bindings: dict[Any, Any] = {}
    assert feeds(Latents, T, bindings)
    assert bindings == {T: Latents}
    assert not feeds(Image, T, bindings)
    assert feeds(list[Latents], list[T], bindings)
    assert not feeds(list[Image], list[T], bindings)
    assert bindings == {T: Latents}


def test_the_wider_type_is_bound() -> None:
    bindings: dict[Any, Any] = {}
    assert feeds(int, T, bindings)
    assert feeds(float, T, bindings)
    assert bindings == {T: float}


def test_nothing_is_bound_by_null_or_by_a_refusal() -> None:
    bindings: dict[Any, Any] = {}
    assert feeds(type(None), T | None, bindings)
    assert not feeds(tuple[Image, int], tuple[T, str], bindings)
    assert bindings == {}


@pytest.mark.parametrize(
    ("annotation", "result"),
    [
        (T, Latents),
        (list[T], list[Latents]),
        (T | None, Optional[Latents]),  # noqa: UP045
        (M, Any),
        (int, int),
        (State, State),
    ],
)
def test_substitute(annotation: Any, result: Any) -> None:
    assert substitute(annotation, {T: Latents}) == result


@pytest.mark.parametrize(
    ("annotation", "item"),
    [
        (list[int], int),
        (Sequence[Latents], Latents),
        (tuple[int, ...], int),
        (tuple[int, str], int | str),
        (list, Any),
        (Annotated[list[int], Field(min_length=1)], int),
        (Schedule, Step),
        (Schedule | list[int], Step | int),
        (Any, Any),
        (str, None),
        (int, None),
        (dict[str, int], None),
        (Latents, None),
        (list[int] | None, None),
        (set[int], None),
    ],
)
def test_item_type(annotation: Any, item: Any) -> None:
    assert item_type(annotation) == item


def test_fields() -> None:
    assert fields_of(State) == {
        "sample": Annotated[Tensor, Kind("latents")],
        "memory": list[Tensor],
    }
    assert fields_of(Step) == {"timestep": Tensor}
    assert fields_of(Schedule) == {}
    assert fields_of(State | None) == {}


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Latents, "latents"),
        (Latents | None, "latents or null"),
        (int | Literal["auto"], "int or 'auto'"),
        (list[Latents], "list of latents"),
        (Sequence[int], "list of int"),
        (tuple[int, ...], "list of int"),
        (tuple[int, str], "tuple of int and str"),
        (dict[str, Any], "mapping of str to anything"),
        (Callable[[int], str], "Callable"),
        (State, "State"),
        (Annotated[int, Field(ge=1)], "int"),
        (M, "Model"),
        (T, "anything"),
        (Any, "anything"),
    ],
)
def test_describe(annotation: Any, words: str) -> None:
    assert describe(annotation) == words


def annotations() -> st.SearchStrategy[Any]:
    # Any is left out: it feeds everything and is fed by everything, so it cannot be transitive.
    leaves = st.sampled_from(
        [
            int, float, bool, str, object, type(None), Tensor, Model, Unet, Latents, Image, Color,
            Schedule, State, Literal["a"], Literal["a", "b"], Literal[1, True], Path,
            Annotated[int, Field(ge=1)], Annotated[str, Kind("prompt")],
        ]
    )  # fmt: skip
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            inner.map(lambda item: list[item]),
            inner.map(lambda item: Sequence[item]),
            inner.map(lambda item: tuple[item, ...]),
            st.tuples(inner, inner).map(lambda items: tuple[items]),
            st.tuples(inner, inner).map(lambda items: Union[items]),  # noqa: UP007
            inner.map(lambda item: dict[str, item]),
        ),
        max_leaves=4,
    )


@settings(deadline=None)  # a busy machine is no failure
@given(annotations())
def test_feeds_is_reflexive(annotation: Any) -> None:
    assert feeds(annotation, annotation)


@settings(deadline=None)  # a busy machine is no failure
@given(st.data())
def test_feeds_is_transitive(data: st.DataObject) -> None:
    chain = st.sampled_from(data.draw(st.lists(annotations(), min_size=3, max_size=6)))
    first, second, third = data.draw(chain), data.draw(chain), data.draw(chain)
    if feeds(first, second) and feeds(second, third):
        assert feeds(first, third)
