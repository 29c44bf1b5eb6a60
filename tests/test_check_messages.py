"""Graphs that are refused by their shapes alone, and the exact words of each refusal."""

from pathlib import Path

import pytest

from graph import load_text, parse_inputs
from tests.check_graphs import OWN, PARTS, checked, write_families

ROOT = Path(__file__).parent.parent


def table() -> list[object]:
    """Read the table: a title, lines behind PARTS or changes of a shipped graph, and the message."""
    content = (Path(__file__).parent / "check_messages.txt").read_text()
    cases: list[object] = []
    for case in content.removeprefix("=== ").split("\n=== "):
        title, _, rest = case.partition("\n")
        given, _, expected = rest.partition("\n---\n")
        cases.append(pytest.param(given, expected.rstrip("\n"), id=title))
    return cases


def said_of(given: str) -> str:
    """Check what the table gives: `graph NAME`, then `old => new` lines, or more lines of nodes."""
    first, *changes = given.splitlines()
    if not first.startswith("graph "):
        text, inputs = PARTS + given + "\n", {}
    else:
        _, name, *words = first.split()
        text = (ROOT / "graphs" / f"{name}.yaml").read_text()
        text = "\n".join(line for line in text.splitlines() if not line.startswith("#")).lstrip()
        for change in changes:
            old, new = change.split(" => ")
            assert old in text, f"{name}.yaml no longer has {old!r}"
            text = text.replace(old, new, 1)
        graph = load_text(text, f"{name}.yaml", OWN)
        inputs = parse_inputs(graph, words)
    found = "\n".join(str(finding) for finding in checked(text, **inputs).findings)
    return found.replace(f"{ROOT}/", "")


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("families")
    write_families(folder)
    return folder


@pytest.mark.parametrize(("given", "expected"), table())
def test_message(
    given: str, expected: str, families: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(families)
    assert said_of(given) == expected


def test_the_table_is_long_enough() -> None:
    assert len(table()) >= 40
