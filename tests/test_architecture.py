"""The house rules that a person would otherwise have to remember."""

import ast
from pathlib import Path

import pytest

import nodes
from graph import load, node_types, shipped_graphs

ROOT = Path(__file__).parent.parent
PACKAGES = ("graph", "nodes", "runtime")
LONGEST_FILE, LONGEST_FUNCTION, LONGEST_GRAPH = 400, 60, 60

# Where a file may import from; the first row that fits is the rule.
MAY_IMPORT = {
    "graph": set(),
    "nodes/models": set(),
    "nodes/schedulers": set(),
    "nodes/weights": set(),
    "nodes": {"graph"},
    "runtime/cli": {"graph", "nodes"},
    "runtime": {"graph"},
}


def imported(path: Path) -> set[str]:
    """Name the top-level packages that a file imports absolutely."""
    names: set[str] = set()
    for found in ast.walk(ast.parse(path.read_text())):
        if isinstance(found, ast.Import):
            names |= {alias.name.split(".")[0] for alias in found.names}
        elif isinstance(found, ast.ImportFrom) and not found.level:
            names.add((found.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_run_one_way(package):
    wrong = []
    for path in sorted((ROOT / package).rglob("*.py")):
        place = path.relative_to(ROOT).as_posix()
        rule = next(rule for rule in MAY_IMPORT if place == rule or place.startswith(f"{rule}/"))
        ours = imported(path) & {"graph", "nodes", "runtime", "tools", "tests"}
        if not ours <= MAY_IMPORT[rule]:
            wrong.append(f"{place} may import {MAY_IMPORT[rule] or 'none of ours'}, not {ours}")
    assert not wrong


@pytest.mark.parametrize("rule", ["nodes/models", "nodes/schedulers", "nodes/weights"])
def test_the_inner_rooms_import_no_other_room(rule):
    for path in (ROOT / rule).glob("*.py"):
        for found in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(found, ast.ImportFrom) and found.level > 1), (
                f"{path} looks outside"
            )


def test_the_graph_package_knows_no_torch():
    assert not any("torch" in imported(path) for path in (ROOT / "graph").rglob("*.py"))


def test_nothing_needs_the_oracle_at_run_time():
    ours = [path for name in PACKAGES for path in (ROOT / name).rglob("*.py")]
    assert not any("diffusers" in imported(path) for path in ours)


@pytest.mark.parametrize("package", [*PACKAGES, "tools", "tests"])
def test_files_and_functions_are_short(package):
    long = []
    for path in sorted((ROOT / package).rglob("*.py")):
        text = path.read_text()
        if len(text.splitlines()) > LONGEST_FILE:
            long.append(str(path))
        for found in ast.walk(ast.parse(text)) if package != "tests" else ():
            lines = isinstance(found, ast.FunctionDef) and found.end_lineno - found.lineno
            if lines >= LONGEST_FUNCTION:
                long.append(f"{found.name} of {path}")
    assert not long


@pytest.mark.parametrize("name", sorted(node_types()))
def test_every_node_says_in_one_sentence_what_it_does(name):
    first = node_types()[name].doc.split("\n")[0]
    assert first.endswith("."), f"the first line of '{name}' is no sentence: {first}"
    assert first[0].isupper()


@pytest.mark.parametrize("name", shipped_graphs())
def test_every_shipped_graph_checks_and_fits_on_a_screen(name):
    assert nodes.__all__
    graph = load(name)
    assert graph.doc, f"{name}.yaml opens with no comment that says what it is"
    lines = graph.source.splitlines()
    assert len(lines) <= LONGEST_GRAPH
    assert max(map(len, lines)) <= 110
