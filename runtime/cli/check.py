"""`run-graph check`: names, types, shapes and cost of a graph, before a weight is read."""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from graph import Graph, load, parse_inputs

from ..check import Report, check_shapes, foresee
from ..place import choose_device, choose_dtype
from ..quantities import quantity
from .shared import FAILED, OK, WRONG, findings_as_data, print_findings, wrong


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take a graph and its inputs."""
    option = parser.add_argument
    option("graph", metavar="GRAPH", help="a file, or the name of a graph that comes along")
    option("inputs", nargs="*", metavar="name=value", help="what the run would set")
    option("--cost", action="store_true", help="print what every block costs")
    option(
        "--dtype",
        default="auto",
        help="the precision of the networks: float32, bfloat16, float16 (default: that of a run)",
    )
    option("--json", action="store_true", help="print findings, shapes and costs as JSON")


def run(given: argparse.Namespace) -> int:
    """Print what is wrong with the graph, or that nothing is."""
    graph = load(given.graph)
    inputs = parse_inputs(graph, given.inputs)
    absent = [key for key, it in graph.inputs.items() if it.required and key not in inputs]
    report = _report(graph, inputs, given.dtype, cost=given.cost or given.json)
    only_absent = bool(report.findings) and all(it in report.absent for it in report.findings)
    if given.json:
        print(json.dumps(_as_data(report), indent=2))
    elif report.findings:
        print_findings(report.findings, sys.stderr)
        if only_absent:
            print(
                f"{given.graph}: names and types are right, shapes are not known", file=sys.stderr
            )
    else:
        print(f"{given.graph}: names, types and shapes are right")
        if absent:
            print(f"not given, nor checked what hangs on it: {', '.join(absent)}")
        if report.unchecked:
            print(f"not known before the run: the values of {', '.join(report.unchecked)}")
    if given.cost and not given.json:
        print(_table(report))
    if only_absent:  # the graph is right, and a run of it would end so too
        return FAILED
    return WRONG if report.findings else OK


def _report(graph: Graph, given: Mapping[str, Any], wish: str, *, cost: bool) -> Report:
    inputs = {name: entry.default for name, entry in graph.inputs.items() if not entry.required}
    try:
        dtype = choose_dtype(wish, choose_device("auto"))
    except ValueError as error:
        raise wrong(error) from error
    report = check_shapes(graph, {**inputs, **given}, dtype)
    if cost and not report.findings:
        foreseen = foresee(graph, {**inputs, **given}, dtype)
        report.costs, report.peak_bytes = foreseen.costs, foreseen.peak_bytes
    return report


def _as_data(report: Report) -> dict[str, Any]:
    return {
        "findings": findings_as_data(report.findings),
        "shapes": report.shapes,
        "costs": [asdict(cost) for cost in report.costs],
        "unchecked": report.unchecked,
        "flops": report.flops,
        "peak_bytes": report.peak_bytes,
    }


def _table(report: Report) -> str:
    """List the blocks that compute or hold weights, then the sums."""
    rows = [("block", "node", "calls", "FLOPs a call", "FLOPs", "parameters", "weights")]
    weights = sum(cost.weight_bytes for cost in report.costs)
    parameters = sum(cost.parameters for cost in report.costs)
    for cost in report.costs:
        if cost.flops or cost.parameters:
            total = cost.calls * cost.flops
            own = (_cell(cost.parameters), _cell(cost.weight_bytes, "B"))
            counted = (str(cost.calls), _cell(cost.flops), _cell(total))
            rows.append((cost.name, cost.node, *counted, *own))
    rows.append(("whole run", "", "", "", _cell(report.flops), _cell(parameters),
                 _cell(weights, "B")))  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    peak = quantity(report.peak_bytes, "B")
    return "\n".join([*lines, f"weights and tensors hold {peak} together at the most"])


def _cell(value: int, unit: str = "") -> str:
    return quantity(value, unit) if value else "-"
