"""Random mistakes in shipped graphs: each is told at its place, or the graph runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graph import GraphError, bind, load_text
from runtime import RunError, Session
from runtime.check import check_shapes
from tests.graph_mutations import Data, as_text, base_graphs, mutated

SESSION = Session("cpu", "float32")


def judged(data: Data) -> str:
    """Check a graph, and run it if nothing is wrong with it; gives what became of it."""
    findings, unchecked = [], []
    try:
        graph = load_text(as_text(data), "g.yaml")
        report = check_shapes(graph, bind(graph, {}), torch.float32)
        findings, unchecked = report.findings, report.unchecked
    except GraphError as error:
        # An input that has become one that must be given stands nowhere: nobody gave it.
        findings = [it for it in error.findings if "must be given" not in it.message]
        graph = None
    assert all(finding.place for finding in findings), findings
    if findings or graph is None:
        return "refused"
    try:
        SESSION(graph)
    except RunError:
        if not unchecked:
            raise
    return "accepted"


def mistakes(draw: Any, bases: dict[str, Data]) -> Data:
    return mutated(bases[draw(st.sampled_from(sorted(bases)))], draw)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Data]]:
    folder = tmp_path_factory.mktemp("few")
    return folder, base_graphs(folder, ["ddpm", "sd15"])


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Data]]:
    folder = tmp_path_factory.mktemp("every")
    return folder, base_graphs(folder)


BOUNDED = settings(
    deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@settings(BOUNDED, max_examples=10, derandomize=True)
@given(data=st.data())
def test_a_mistake_is_told_or_harmless(
    data: st.DataObject, few: tuple[Path, dict[str, Data]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, bases = few
    monkeypatch.chdir(folder)
    judged(mistakes(data.draw, bases))


@pytest.mark.slow
@settings(BOUNDED, max_examples=150, derandomize=True)
@given(data=st.data())
def test_mistakes_in_every_graph_are_told_or_harmless(
    data: st.DataObject, every: tuple[Path, dict[str, Data]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, bases = every
    monkeypatch.chdir(folder)
    judged(mistakes(data.draw, bases))
