"""Whom a failed run blames, and what it shows: nodes that give what they do not declare."""

import re
from pathlib import Path
from typing import Annotated, NamedTuple

import pytest
import torch
from PIL import Image as Picture

import nodes
from graph import Ambient, Registry, load_text, node_types
from nodes.kinds import Device, Image
from runtime import RunError, Session
from runtime.workers import Outcome, Runner, Task

assert nodes.__all__
registry = Registry()
registry.types.own.update(node_types())
node = registry.node


class Pair(NamedTuple):
    one: Image
    other: Image


@node
def picture() -> Image:
    """Give a picture."""
    return torch.zeros(1, 3, 8, 8)


@node
def picture_again(image: Image) -> Image:
    """Give the same picture."""
    return image


@node
def flat(image: Image) -> Image:
    """Give another shape than is declared."""
    return image.flatten()


@node
def word(image: Image) -> Image:
    """Give no tensor."""
    return "hello"


@node
def nothing(image: Image) -> Image:
    """Forget to give anything."""


@node
def whole(image: Image) -> Pair:
    """Give one picture for two."""
    return image


@node
def three(image: Image) -> list[Image]:
    """Give a number for a list."""
    return 3


@node
def sides(image: Image) -> int:
    """Unpack the sides of a picture, as who trusts its kind does."""
    batch, _, height, width = image.shape
    return batch * height * width


@node
def refusing(image: Image | None = None) -> int:
    """Refuse."""
    raise ValueError(f"{type(image).__name__} is refused")


@node
def opened(
    path: str,
    device: Device,
    tell: Annotated[object, Ambient("provenance")],
) -> Image:
    """Fail inside a library."""
    return torch.zeros(Picture.open(path).size, device=device)


UNPACKED = "ValueError: not enough values to unpack (expected 4, got 1)"
WRONG = {
    "another shape": (
        "flat", "$x",
        "g.yaml:3:3: 'x' (flat): what it gives must have the axes B 1|3|4 H W, found 192\n"
        f"  so 'y' (sides) failed: {UNPACKED}",
    ),
    "no tensor": (
        "word", "$x",
        "g.yaml:3:3: 'x' (word): what it gives must be a tensor, found 'hello'\n"
        "  so 'y' (sides) failed: AttributeError: 'str' object has no attribute 'shape'",
    ),
    "nothing": (
        "nothing", "$x",
        "g.yaml:3:3: 'x' (nothing): what it gives must be a tensor, found None\n"
        "  so 'y' (sides) failed: AttributeError: 'NoneType' object has no attribute 'shape'",
    ),
    "not its fields": (
        "whole", "$x.one",
        "g.yaml:3:3: 'x' (whole): what it gives must have `one`, found 1×3×8×8 float32 on cpu\n"
        "  so 'y' (sides) failed: AttributeError: 'Tensor' object has no attribute 'one'",
    ),
}  # fmt: skip


def failure(text: str) -> RunError:
    with pytest.raises(RunError) as error:
        Session("cpu", "float32")(load_text(text, "g.yaml", registry))
    return error.value


@pytest.mark.parametrize("name", WRONG)
def test_who_gave_what_is_not_declared_is_blamed_for_what_fails_on_it(name: str) -> None:
    maker, taken, said = WRONG[name]
    text = f"nodes:\n  p: {{node: picture}}\n  x: {{node: {maker}, image: $p}}\n"
    error = failure(f"{text}  y: {{node: sides, image: {taken}}}\noutputs: {{y: $y}}")
    assert str(error) == said
    assert isinstance(error.__cause__, ValueError | AttributeError)


LOOP = """nodes:
  p: {node: picture}
  x: {node: %s, image: $p}
  loop:
    for: {step: %s}
    carry: {state: {from: $p, then: $next}}
    nodes:
      next: {node: %s, image: $state}
      seen: {node: %s, image: $state}
    collect: {seen: $seen}
  y: {node: sides, image: $loop.state}
outputs: {y: $y, seen: $loop.seen}
"""


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (
            ("three", "$x", "flat", "flat"),
            "g.yaml:3:3: 'x' (three): what it gives must be a list, found 3\n"
            "  so the loop 'loop' failed: TypeError: object of type 'int' has no len()",
        ),
        (
            ("flat", "[1]", "flat", "sides"),
            "g.yaml:8:7: 'loop/next' (flat): what it gives must have the axes B 1|3|4 H W, "
            f"found 192\n  so 'y' (sides) failed: {UNPACKED}",
        ),
        (  # whether it is the state that it began with is not known
            ("flat", "[1, 2]", "flat", "sides"),
            "g.yaml:9:34: 'loop/seen' (sides): `image` must have the axes B 1|3|4 H W, "
            f"found 192\n  so 'loop/seen' (sides) failed: {UNPACKED}",
        ),
    ],
    ids=["a sequence", "what a loop gives", "what a step is handed"],
)
def test_what_goes_into_loops_and_comes_out_has_its_maker(
    parts: tuple[str, ...], said: str
) -> None:
    assert str(failure(LOOP % parts)) == said


def test_what_a_node_gives_is_no_refusal_of_what_callers_gave() -> None:
    text = """inputs: {output: p.png}
nodes:
  p: {node: picture}
  x: {node: %s, image: $p}
  y: {node: %s, image: $x}
  saved: {node: save_image, image: $p, path: $output}
outputs: {y: $y}
"""
    outcomes: list[Outcome] = []
    for parts in (("flat", "sides"), ("picture_again", "refusing")):
        graph = load_text(text % parts, "g.yaml", registry)
        runner = Runner(Session("cpu", "float32"), {"g.yaml": graph})
        outcomes += runner.run([Task("1", "g.yaml", {})])
    wrong, refused = outcomes
    assert (wrong.status, wrong.refusal) == ("failed", "")
    assert wrong.error.startswith("g.yaml:4:3: 'x' (flat): what it gives must have the axes")
    assert (refused.status, refused.refusal) == ("refused", "Tensor is refused")


def test_a_node_that_did_not_run_is_not_blamed() -> None:
    text = "nodes:\n  p: {node: picture}\n  x: {node: flat, image: $p, when: false, else: null}\n"
    error = failure(f"{text}  y: {{node: refusing, image: $x}}\noutputs: {{y: $y}}")
    said = "g.yaml:4:3: 'y' (refusing) failed: ValueError: NoneType is refused"
    assert str(error).splitlines()[0] == said


def test_the_line_is_that_of_the_node_and_what_says_nothing_is_left_out() -> None:
    error = failure("nodes: {x: {node: opened, path: nope.png}}\noutputs: {x: $x}")
    first, raised, *arguments = str(error).splitlines()
    assert first.startswith("g.yaml:1:9: 'x' (opened) failed: FileNotFoundError")
    found = re.fullmatch(r"  raised at (.*):(\d+)", raised)
    assert found
    assert found[1] == __file__
    assert "Picture.open(path)" in Path(__file__).read_text().splitlines()[int(found[2]) - 1]
    assert sorted(arguments) == ["  device: cpu", "  path: 'nope.png'"]


def test_the_line_of_a_node_of_ours_is_in_its_file_too() -> None:
    error = failure("nodes: {x: {node: load_image, path: nope.png}}\noutputs: {x: $x}")
    assert re.search(r"^  raised at .*/nodes/image.py:\d+$", str(error), re.MULTILINE)
