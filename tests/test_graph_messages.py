"""Every message about a graph file, to the letter, as the text files beside this one have it."""

from __future__ import annotations

from pathlib import Path

import pytest

from graph import GraphError, load_text
from tests.graph_nodes import ENCODE_PROMPT, nodes

FILES = {
    "encode_prompt.yaml": ENCODE_PROMPT,
    "broken.yaml": """\
inputs:
  unused:
nodes:
  tokens: {node: tokenize, model: m}
outputs: {a: $tokens, b: $tokens}
""",
    "first.yaml": "nodes:\n  inner: {graph: second}\n",
    "second.yaml": "nodes:\n  inner: {graph: first}\n",
    "misnamed.yaml": "input: {model: }\nnodes:\n  vae: {node: load_vae, model: $model}\n",
    "strays.yaml": """\
nodes:
  loop:
    for: {step: [1]}
    carry: {state: {from: $start, then: $state}}
    nodes: {}
  vae: {node: load_vae, model: m}
  schedule: {node: schedule, config: {}, steps: 3}
  noise: {node: noise, vae: $vae, schedule: $schedule, seed: 0, width: 8, height: 8}
  start: {node: start, schedule: $schedule, noise: $noise.initial}
outputs: {value: $loop.sample}
""",
    "pass_on.yaml": "inputs: {value: }\nnodes: {}\noutputs: {value: $value}\n",
}


def table(name: str) -> list[object]:
    """Read a table: a title, a graph file, and what is said of it."""
    content = (Path(__file__).parent / name).read_text()
    cases: list[object] = []
    for case in content.removeprefix("=== ").split("\n=== "):
        title, _, rest = case.partition("\n")
        text, _, expected = rest.partition("\n---\n")
        cases.append(pytest.param(text + "\n", expected.rstrip("\n"), id=title))
    return cases


@pytest.mark.parametrize(
    ("text", "expected"),
    [*table("graph_messages_names.txt"), *table("graph_messages_types.txt")],
)
def test_message(text: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file, content in FILES.items():
        (tmp_path / file).write_text(content)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GraphError) as caught:
        load_text(text, "g.yaml", nodes())
    assert str(caught.value) == expected
