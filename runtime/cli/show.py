"""`run-graph show`: a graph as a picture."""

import argparse
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from graph import Block, Call, Graph, GraphError, Loop, Reference, load, parse_inputs
from graph.draw import Facts, html, mermaid, scene_of, svg, text

from ..check import Report, check_shapes
from ..plan import share_equal_calls
from ..quantities import quantity
from .shared import OK, is_colourful, write_text

# Which colour a kind has; lists and options have that of what they are made of.
_KINDS = {
    "model": (
        "UNet", "Autoencoder", "TextEncoder", "Tokenizer", "ControlNetModel", "T2IAdapter", "LoRA",
        "TextualInversion", "LatentColours", "SafetyChecker", "IPAdapter",
        "CLIPVisionModelWithProjection", "Widened",
    ),
    "text": (
        "tokens", "WeightedTokens", "EqualTokens", "text embedding", "pooled text", "EncodedText",
        "picture size", "class label", "ImageSize", "ExtendedText",
    ),
    "schedule": ("SchedulerConfig", "Schedule", "Step", "timestep", "Parts"),
    "latents": ("latents", "State", "Noise", "FreshNoise", "NoisyLatents"),
    "prediction": ("prediction", "Cached", "deep features"),
    "control": ("control", "ControlSteps", "adapter features"),
    "image": ("image", "CheckedImage", "image prompt"),
    "mask": ("mask",),
}  # fmt: skip
HUES = {kind: hue for hue, kinds in _KINDS.items() for kind in kinds}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take a graph and its inputs, and how it is to be drawn."""
    option = parser.add_argument
    option("graph", metavar="GRAPH")
    option("inputs", nargs="*", metavar="name=value")
    form = parser.add_mutually_exclusive_group().add_argument
    form("--mermaid", action="store_true", help="print it in Mermaid's language, for Markdown")
    form("--svg", type=Path, metavar="FILE", help="write a picture")
    form("--html", type=Path, metavar="FILE", help="write a page that tells more of every block")


def run(given: argparse.Namespace) -> int:
    """Draw the graph in the terminal, or write its picture."""
    graph = load(given.graph)
    inputs = parse_inputs(graph, given.inputs)
    facts, report = known_facts(graph, inputs)
    scene = scene_of(graph, facts)
    wrong = [finding for finding in report.findings if finding not in report.absent]
    if wrong:
        raise GraphError(wrong)
    if given.svg:
        write_text(given.svg, svg(scene))
    elif given.html:
        write_text(given.html, html(scene))
    elif given.mermaid:
        print(mermaid(scene), end="")
    else:
        width = shutil.get_terminal_size((100, 0)).columns
        print(text(scene, width=width, colour=is_colourful(sys.stdout)), end="")
    if report.absent:
        print("shapes and costs are not all known:", report.absent[0].message, file=sys.stderr)
    return OK


def known_facts(graph: Graph, given: Mapping[str, Any]) -> tuple[Facts, Report]:
    """Tell the shapes and costs of a graph, as far as a check finds them, for its picture."""
    inputs = {name: entry.default for name, entry in graph.inputs.items() if not entry.required}
    inputs |= given
    report = check_shapes(graph, inputs, torch.float16)
    total = [f"{quantity(report.flops)}FLOP"] if report.flops else []
    total += [f"{quantity(report.peak_bytes, 'B')} at the most"] if report.peak_bytes else []
    twins = _twins(graph)
    shapes = {
        key: words for name, said in report.shapes.items() for key, words in _named(name, said)
    }
    shapes |= {key: words for name, twin in twins.items()
               for key, words in _named(name, report.shapes.get(twin, ""))}  # fmt: skip
    calls = {cost.name: cost.calls for cost in report.costs}
    facts = Facts(
        shapes=shapes,
        costs=_costs(report),
        steps=dict(_steps(graph.blocks, calls, 1)),
        twins=twins,
        values=given,
        hues=HUES,
        total=", ".join(total),
    )
    return facts, report


def _named(name: str, words: str) -> Iterator[tuple[str, str]]:
    """Give the shape of a block by its name, and those of its fields by theirs."""
    yield name, words
    for part in words.split(", "):
        field, _, shape = part.partition(" ")
        if field.isidentifier():
            yield f"{name}.{field}", shape


def _costs(report: Report) -> dict[str, str]:
    costs: dict[str, str] = {}
    for cost in report.costs:
        if cost.parameters:
            costs[cost.name] = (
                f"{quantity(cost.parameters)} weights, {quantity(cost.weight_bytes, 'B')}"
            )
        elif cost.flops:
            times = f"{cost.calls} × " if cost.calls > 1 else ""
            costs[cost.name] = f"{times}{quantity(cost.flops)}FLOP"
    return costs


def _steps(
    blocks: tuple[Block, ...], calls: Mapping[str, int], times: int
) -> Iterator[tuple[str, int]]:
    """Count the steps of every loop by how often the calls in it are made."""
    for block in blocks:
        if isinstance(block, Loop):
            inner = next((calls[call.name] for call in block.body if call.name in calls), 0)
            if inner:
                yield block.name, inner // times
                yield from _steps(block.body, calls, inner)


def _twins(graph: Graph) -> dict[str, str]:
    """Find the calls that are made once with an equal one, by that one's name."""
    named = {call.name: Reference(call.name) for call in _calls(graph.blocks)}
    shared = share_equal_calls(replace(graph, outputs=dict(named))).outputs
    return {
        name: value.name
        for name, value in shared.items()
        if isinstance(value, Reference) and value.name != name
    }


def _calls(blocks: tuple[Block, ...]) -> Iterator[Call]:
    for block in blocks:
        if isinstance(block, Call):
            yield block
        else:
            yield from _calls(block.body)
