"""How fast a graph runs, as a table."""

import pytest
import torch

from runtime.bench import Timed, ceiling
from runtime.cli import main
from runtime.plan import ALL, PASSES

GRAPH = """
inputs: {size: 2}
nodes: {product: {node: product_for_bench, size: $size}}
outputs: {product: $product}
"""
NODES = """
import torch
from graph import node


@node
def product_for_bench(size: int) -> torch.Tensor:
    \"\"\"Multiply.\"\"\"
    return torch.ones(size, size) @ torch.ones(size, size)
"""


@pytest.mark.slow
def test_the_command_times_a_graph_with_and_without_each_pass(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "product.yaml").write_text(GRAPH)
    (tmp_path / "own.py").write_text(NODES)
    words = ["size=64", "--runs", "1", "--dtype", "float32", "--device", "cpu"]
    assert main(["bench", "product.yaml", "--nodes", "own.py", *words]) == 0
    title, head, *rows, last = capsys.readouterr().out.splitlines()
    assert title == "product: float32 on cpu, 1 runs each"
    assert head.split() == ["first", "s", "later", "s", "of", "planned"]
    names = [row[:16].strip() for row in rows]
    assert names == ["planned", "not planned", *(f"without {name}" for name in PASSES)]
    assert all(float(row[16:25]) >= 0 for row in rows)
    assert rows[0].endswith(" 1.00 (1.00 to 1.00)")
    assert last.startswith("0.000 TFLOP a run, ")
    assert last.endswith("% of what matrices are multiplied at here")


def test_help_says_what_each_pass_is_and_how_often_it_runs(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["bench", "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "after a first one (default: 3)" in said
    assert [line.split()[0] for line in said.splitlines()[-len(ALL) :]] == list(ALL)
    assert "  share     equal calls are one call\n" in said


def test_a_ratio_is_that_of_runs_in_turn_with_its_spread():
    planned, other = Timed("planned", 9.0, [1.0, 2.0, 4.0]), Timed("other", 9.0, [2.0, 3.0, 4.0])
    assert other.ratios(planned) == (1.5, 1.0, 2.0)


def test_the_ceiling_is_a_rate():
    assert 1e8 < ceiling(torch.device("cpu"), torch.float32, 256) < 1e14
