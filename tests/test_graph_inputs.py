"""What a run may set, from Python and from a command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from graph import Graph, GraphError, Registry, bind, load_text, parse_inputs


class Image: ...


def graph() -> Graph:
    registry = Registry()

    @registry.node
    def use(
        prompt: str,
        steps: Annotated[int, Field(ge=1)],
        scale: float,
        size: int | Literal["auto"],
        tiled: bool,
        path: Path,
        texts: str | list[str],
        scales: list[float],
        stop: int | None,
        mode: Literal["fast", "slow", "1"],
        image: Image | None,
    ) -> None:
        """Use everything."""

    defaults = {
        "scale": "1",
        "size": "auto",
        "tiled": "false",
        "path": "a",
        "texts": "b",
        "scales": "[1]",
        "stop": "~",
        "mode": "fast",
        "image": "~",
    }
    inputs = "".join(f"  {name}: {value}\n" for name, value in defaults.items())
    call = ", ".join(f"{name}: ${name}" for name in ["prompt", "steps", *defaults])
    text = f"inputs:\n  prompt:\n  steps:\n{inputs}nodes:\n  use: {{node: use, {call}}}\n"
    return load_text(text, "mine", registry)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("prompt=no", "no"),
        ("prompt=12:30", "12:30"),
        ("prompt=a=b, c", "a=b, c"),
        ("prompt=", ""),
        ("prompt=null", "null"),
        ("prompt=#nature", "#nature"),
        ("prompt=$5 [a] {b}: *x", "$5 [a] {b}: *x"),
        ("texts=[a, b]", "[a, b]"),
        ('texts=["a, b", "c"]', ["a, b", "c"]),
        ('texts=["a", 1]', '["a", 1]'),
        ('prompt=["a", "b"]', '["a", "b"]'),
        ("steps=20", 20),
        ("scale=7", 7.0),
        ("scale=1e-5", 1e-5),
        ("size=auto", "auto"),
        ("size=512", 512),
        ("tiled=true", True),
        ("path=12", Path("12")),
        ("path=a # b.png", Path("a # b.png")),
        ("scales=[1, 0.5]", [1.0, 0.5]),
        ("stop=null", None),
        ("stop=3", 3),
        ("mode=1", "1"),
    ],
)
def test_words(word: str, value: object) -> None:
    (found,) = parse_inputs(graph(), [word]).values()
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("steps=many", "error: input 'steps' takes int, found the text 'many'"),
        ("steps=0", "error: input 'steps' must be at least 1, found 0"),
        ("steps=2.5", "error: input 'steps' takes int, found 2.5"),
        ("steps=", "error: input 'steps' takes int, found the text ''"),
        ("steps=[", "error: input 'steps' takes int, found the text '['"),
        ("tiled=yes", "error: input 'tiled' takes bool, found the text 'yes'"),
        ("tiled=1", "error: input 'tiled' takes bool, found 1"),
        (
            "mode=fats",
            "error: input 'mode' takes 'fast', 'slow' or '1', found the text 'fats'\n"
            "  help: did you mean 'fast'?",
        ),
        (
            "scales=[1, x]",
            "error: input 'scales' takes list of float, found the text 'x' as item 2",
        ),
        ("image=a.png", "error: input 'image' takes Image or null, found the text 'a.png'"),
        ("step=3", "error: 'mine' has no input 'step'\n  help: did you mean 'steps'?"),
        ("steps", "error: 'steps' sets nothing\n  help: write name=value"),
    ],
)
def test_bad_words(word: str, message: str) -> None:
    with pytest.raises(GraphError) as caught:
        parse_inputs(graph(), [word])
    assert str(caught.value) == message


def test_all_bad_words_are_told() -> None:
    with pytest.raises(GraphError) as caught:
        parse_inputs(graph(), ["steps=3", "steps=4", "prompt", "tiled=1"])
    assert [finding.message for finding in caught.value.findings] == [
        "input 'steps' is given twice",
        "'prompt' sets nothing",
        "input 'tiled' takes bool, found 1",
    ]


def test_bind_fills_in_the_defaults() -> None:
    image = Image()
    bound = bind(graph(), {"prompt": "a", "steps": 3, "image": image})
    assert bound.pop("image") is image
    assert bound == {
        "prompt": "a",
        "steps": 3,
        "scale": 1.0,
        "size": "auto",
        "tiled": False,
        "path": Path("a"),
        "texts": "b",
        "scales": [1.0],
        "stop": None,
        "mode": "fast",
    }


def test_bind_tells_all_that_is_wrong() -> None:
    with pytest.raises(GraphError) as caught:
        bind(graph(), {"promt": "a", "steps": True, "scale": "1", "xyzzy": 1})
    assert str(caught.value) == (
        "error: 'mine' has no input 'promt'\n"
        "  help: did you mean 'prompt'?\n"
        "error: 'mine' has no input 'xyzzy'\n"
        "  help: its inputs are prompt, steps, scale, size, tiled, path, texts, scales, stop, mode"
        " and image\n"
        "error: input 'prompt' must be given\n"
        "error: input 'steps' takes int, found true\n"
        "error: input 'scale' takes float, found the text '1'"
    )
