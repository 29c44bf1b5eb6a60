"""Requests made up from the OpenAPI page: never a 5xx, and every answer is one that it documents."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given, settings
from pydantic import Field
from starlette.testclient import TestClient

import nodes
from graph import Registry, Written, load, load_text
from runtime import Session
from runtime.serve import LIMITS, Queue, make_app, serve_graph
from runtime.workers import Runner, ThreadWorker

assert nodes.__all__
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
BEARER = {"authorization": "Bearer secret"}
GRAPH = """# Write what was given.
inputs: {words: hello, steps: 2, scale: 1.5, loud: false, mood: calm, list: [1], extra: null,
         source: , output: words.txt}
nodes:
  read: {node: read_words, path: $source, extra: $extra}
  saved: {node: write_all, words: $words, steps: $steps, scale: $scale, loud: $loud, mood: $mood,
          list: $list, other: $read, path: $output}
"""


def a_graph():
    registry = Registry()

    @registry.node(reads=lambda path, extra: [Path(it) for it in (path, extra) if it])
    def read_words(path: str, extra: str | None) -> str:
        """Read."""
        return "".join(Path(it).read_bytes().hex() for it in (path, extra) if it)

    @registry.node(effect=True)
    def write_all(
        words: str,
        steps: Annotated[int, Field(ge=1)],
        scale: Annotated[float, Field(gt=0, le=10)],
        loud: bool,
        mood: Literal["calm", "wild"] | int,
        list: list[int],
        other: str,
        path: Annotated[str, Written()],
    ) -> Path:
        """Write."""
        Path(path).write_text(repr((words, steps, scale, loud, mood, list, other)))
        return Path(path)

    return load_text(GRAPH, "words", registry)


def an_app(graph, limits):
    served = serve_graph(graph, {}, limits, frozenset({"source", "extra"}))
    runner = Runner(Session("cpu"), {graph.name: graph}, watched=True)
    queue = Queue(1, lambda number: ThreadWorker(lambda _: runner, number), room=16)
    return make_app({graph.name: served}, queue, "secret")


def an_api(graph, limits):
    import schemathesis  # which takes a second

    return schemathesis.openapi.from_asgi("/openapi.json", an_app(graph, limits), headers=BEARER)


@pytest.fixture(params=["positive", "negative"])
def mode(request):
    """Give requests as described, or others."""
    return pytest.importorskip("schemathesis").GenerationMode(request.param)


def test_every_answer_is_documented_and_none_is_the_servers_fault(mode):
    operations = [each.ok() for each in an_api(a_graph(), LIMITS).get_all_operations()]
    for operation in operations:
        if mode.is_negative and not operation.body:  # nothing can be wrong
            continue

        @settings(max_examples=100, deadline=None, derandomize=True)
        @given(operation.as_strategy(generation_mode=mode))
        def check(case):
            case.call_and_validate(headers=BEARER)

        check()


def test_no_body_breaks_a_shipped_graph(mode):
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    api = an_api(load("emoji"), {**LIMITS, "steps": 1, "count": 1})

    @settings(max_examples=30, deadline=None, derandomize=True)
    @given(api["/graphs/emoji"]["POST"].as_strategy(generation_mode=mode))
    def check(case):
        # A schema cannot say which texts name a sampler.
        case.call_and_validate(headers=BEARER, excluded_checks=[positive_data_acceptance])

    check()


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (
            {"prompt": ["a fox", "a cat"]},
            "there are 2 predictions for 1 picture: `count` must be as many as there are prompts",
        ),
        (
            {"prompt": ["a fox", "a cat"], "negative_prompt": ["dark", "bright", "red"]},
            "`cond` is of 2 pictures, `uncond` of 3: "
            "there must be as many prompts as negative prompts, or one",
        ),
        ({"prompt": []}, "`prompt` is a list without prompts"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_prompts_that_do_not_fit_are_the_callers(inputs, said):
    """Requests that are made up hit upon these by luck alone."""
    client = TestClient(an_app(load("emoji"), LIMITS))
    found = client.post("/graphs/emoji", json={"steps": 1, "count": 1, **inputs}, headers=BEARER)
    assert found.status_code == 422
    assert found.json()["error"] == said


def test_an_input_of_two_types_has_the_limits_of_both():
    served = serve_graph(a_graph(), {"source": ""}, LIMITS, frozenset())
    mood = served.schema()["properties"]["mood"]
    assert (mood["maxLength"], mood["maximum"]) == (10_000, 2**64 - 1)
    assert mood["minimum"] == -mood["maximum"]
