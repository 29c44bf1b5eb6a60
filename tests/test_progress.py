"""What a person sees of a run: a bar on a terminal, plain lines elsewhere."""

import io
import logging

import pytest

from graph import Registry, load_text
from runtime import Session
from runtime.progress import Progress, remarks_among

registry = Registry()

GRAPH = """
nodes:
  loop:
    for: {x: [1, 2, 3, 4]}
    carry: {sum: {from: 0, then: $next}}
    nodes: {next: {node: plus, a: $sum, b: $x}}
  told: {node: tell, a: $loop.sum}
"""


@registry.node
def plus(a: int, b: int) -> int:
    """Add."""
    return a + b


@registry.node(effect=True)
def tell(a: int) -> str:
    """Tell."""
    return f"it is {a}"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def graph():
    return load_text(GRAPH, "sum.yaml", registry)


def test_plain_lines(graph):
    stream = io.StringIO()
    Session("cpu", "float32", Progress(stream))(graph)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "sum.yaml: float32 on cpu (as asked)"
    assert lines[1].startswith("loop: 4 steps in 0.0 s (")
    assert lines[2] == "told: it is 10"
    assert lines[3] == "done in 0.0 s"
    assert len(lines) == 4


def test_a_bar_on_a_terminal(graph, monkeypatch):
    monkeypatch.setattr("runtime.progress.PAUSE", 0)
    stream = Terminal()
    Session("cpu", "float32", Progress(stream))(graph)
    shown = stream.getvalue()
    assert "loop ███████░░░░░░░░░░░░░░░░░░░░░░░ 1/4" in shown
    assert f"loop {'█' * 30} 4/4, 0 s left" in shown
    assert "\r\033[Ktold: it is 10\n" in shown


def test_what_is_logged_is_a_line_of_its_own_beside_the_bar():
    stream = Terminal()
    log = logging.getLogger("run-graph")
    with remarks_among(Progress(stream)):
        for text in ("cut off", "cut off", "damaged"):
            log.warning(text)
        log.info("found")
    log.warning("later")
    assert stream.getvalue() == "\r\033[Kcut off\n\r\033[Kdamaged\n"


def test_steps_that_are_quick_draw_the_last_alone(graph, monkeypatch):
    monkeypatch.setattr("runtime.progress.PAUSE", 1000)
    stream = Terminal()
    Session("cpu", "float32", Progress(stream))(graph)
    assert stream.getvalue().count("loop █") == 1
