"""After any edits of any graph, what is remembered is a fresh result, and the fewest nodes ran."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import Cache
from runtime.plan import PASSES
from tests.cache_nodes import Watched

LOOPS = ("loop", "loud")
WIRES = {
    "numbers": 0, "halves": 1, "mix": 2, "gate": 2, "part": 2, "loop": 2, "loud": 2, "total": 1, "tell": 1,
}  # fmt: skip
FIELDS = {
    "halves": (".left", ".right"),
    "part": (".left", ".right"),
    "loop": (".x", ".x"),
    "loud": (".x", ".x"),
}
PART = """
inputs: {a: , b: }
nodes: {both: {node: mix, a: $a, b: $b}, split: {node: halves, a: $both}}
outputs: {left: $split.left, right: $split.right}
"""


@dataclass(frozen=True)
class Block:
    """What stands in a graph: a node or a loop, a number, a flag, and the blocks it is wired to."""

    kind: str
    number: int
    flag: bool
    wires: tuple[int, ...]
    letter: str


@st.composite
def a_block(draw, before):
    """Make a block that is wired to some of those before it."""
    values = [at for at, block in enumerate(before) if block.kind != "tell"]
    loops = [at for at in values if before[at].kind in LOOPS]
    kinds = [kind for kind in WIRES if kind == "numbers" or values]
    kind = draw(st.sampled_from([kind for kind in kinds if kind != "total" or loops]))
    ends = st.sampled_from(loops if kind == "total" else values or [0])
    wires = tuple(draw(ends) for _ in range(WIRES[kind]))
    return Block(
        kind, draw(st.integers(0, 2)), draw(st.booleans()), wires, draw(st.sampled_from("ab"))
    )


@st.composite
def edited(draw, blocks):
    """Change a block, or add one."""
    at = draw(st.integers(0, len(blocks)))
    if at == len(blocks):
        return [*blocks, draw(a_block(blocks))]
    block, other = blocks[at], draw(a_block(blocks[:at]))
    whole = other.kind == block.kind
    word = draw(st.sampled_from(["number", "flag", "letter", *(["wires"] if whole else [])]))
    return [*blocks[:at], replace(block, **{word: getattr(other, word)}), *blocks[at + 1 :]]


@st.composite
def histories(draw):
    """Make a graph, and what becomes of it; now and then an earlier one comes back."""
    blocks = []
    for _ in range(draw(st.integers(2, 7))):
        blocks.append(draw(a_block(blocks)))
    versions = [blocks]
    for _ in range(draw(st.integers(1, 4))):
        back = draw(st.integers(0, 3)) == 0
        versions.append(draw(st.sampled_from(versions) if back else edited(versions[-1])))
    return [(blocks, draw(st.integers(0, 6))) for blocks in versions]


def written(blocks, root, part):
    """Write blocks as a graph file whose output is what the block `root` gives, if it gives anything."""
    names = [f"{block.letter}{at}" for at, block in enumerate(blocks)]
    lines = ["nodes:"]
    for name, block in zip(names, blocks, strict=True):
        ends = [
            f"${names[wire]}{FIELDS.get(blocks[wire].kind, ('', ''))[port]}"
            for port, wire in enumerate(block.wires)
        ]
        a, b = (*ends, "", "")[:2]
        flag = str(block.flag).lower()
        mix = f"node: mix, a: {a}, b: {b}, weight: {block.number}.5"
        if block.kind in LOOPS:
            told = ", told: {node: tell, a: $y}" if block.kind == "loud" else ""
            lines += [
                f"  {name}:",
                f"    for: {{i: [{block.number}, 1.0, 2.0], on: [{flag}, true, {flag}]}}",
                f"    carry: {{x: {{from: {a}, then: $y}}}}",
                f"    nodes: {{fixed: {{node: halves, a: {b}}}, "
                f"y: {{node: mix, a: $x, b: $fixed.right, weight: $i, when: $on, else: $x}}{told}}}",
                "    collect: {all: $y}",
            ]
            continue
        written = {
            "numbers": f"node: numbers, seed: {block.number}",
            "halves": f"node: halves, a: {a}",
            "mix": mix,
            "gate": f"{mix}, when: {flag}, else: {b}",
            "part": f"graph: {part}, a: {a}, b: {b}",
            "total": f"node: total, all: {a.removesuffix('.x')}.all",
            "tell": f"node: tell, a: {a}, name: n{block.number}",
        }[block.kind]
        lines.append(f"  {name}: {{{written}}}")
    field = FIELDS.get(blocks[root].kind, ("",))[0]
    return "\n".join([*lines, f"outputs: {{out: ${names[root]}{field}}}"])


@dataclass(frozen=True)
class Unit:
    """What is made as one and kept as one: a call, or a loop; equal units have equal values."""

    said: tuple[object, ...]
    calls: int
    needs: tuple["Unit", ...]
    kept: bool = True


def units(blocks, root):
    """Say of what units the output and the effects are made, by the meaning of the blocks alone."""

    def end(at, port):
        """Follow a wire to what gives its value: closed gates hand on their second input."""
        while blocks[at].kind == "gate" and not blocks[at].flag:
            at, port = blocks[at].wires[1], 1
        return at, FIELDS.get(blocks[at].kind, ("", ""))[port]

    roots = [at for at, block in enumerate(blocks) if block.kind in ("tell", "loud")]
    roots.append(end(root, 0)[0])
    reached, ahead = set(), list(roots)
    while ahead:
        at = ahead.pop()
        if at not in reached:
            reached.add(at)
            ahead += [end(wire, port)[0] for port, wire in enumerate(blocks[at].wires)]
    summed = {end(blocks[at].wires[0], 0)[0] for at in reached if blocks[at].kind == "total"}

    def unit(at):
        block = blocks[at]
        ends = [end(wire, port) for port, wire in enumerate(block.wires)]
        needs = tuple(unit(wire) for wire, _ in ends)
        fields = tuple(field for _, field in ends)
        if block.kind == "part":
            both = Unit(("mix", "0.5", fields), 1, needs)
            return Unit(("halves", ("",)), 1, (both,))
        if block.kind in LOOPS:
            fixed = Unit(("halves", fields[1:]), 1, needs[1:])
            said = ("loop", block.number, block.flag, at in summed, fields[:1])
            calls = 3 if block.flag else 1
            if block.kind == "loop":
                return Unit(said, calls, (needs[0], fixed))
            return Unit((*said, at), calls + 3, (needs[0], fixed), kept=False)
        said = {
            "numbers": (block.number,),
            "mix": (f"{block.number}.5",),
            "gate": (f"{block.number}.5",),
            "tell": (at,),
        }.get(block.kind, ())
        name = "mix" if block.kind == "gate" else block.kind
        fields = () if block.kind == "total" else fields
        return Unit((name, *said, fields), 1, needs, kept=block.kind != "tell")

    return [unit(at) for at in roots]


def fewest(wanted, known):
    """Say which units have to run: those that are not known, and what they need."""
    run, ahead = set(), list(wanted)
    while ahead:
        unit = ahead.pop()
        if unit not in known and unit not in run:
            run.add(unit)
            ahead += unit.needs
    return run


FEW = settings(max_examples=20, deadline=None, derandomize=True)


@pytest.fixture(scope="module")
def part(tmp_path_factory):
    file = tmp_path_factory.mktemp("part") / "part.yaml"
    file.write_text(PART)
    return file


@pytest.mark.parametrize("processes", [False, True], ids=["a session", "a folder"])
@settings(FEW)
@given(versions=histories())
def test_after_any_edits_the_result_is_a_fresh_one_and_the_fewest_nodes_ran(
    part, processes, versions
):
    compared(part, processes, versions)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [False, True], ids=["a session", "a folder"])
@settings(FEW, max_examples=40)
@given(versions=histories())
def test_after_many_edits_the_result_is_a_fresh_one_and_the_fewest_nodes_ran(
    part, processes, versions
):
    compared(part, processes, versions)


def compared(part, processes, versions):
    """Run each version of a graph with what is remembered, and with nothing."""
    with tempfile.TemporaryDirectory() as folder:
        remembering, known = Watched(Cache(10**6), PASSES), set()
        for blocks, number in versions:
            if processes:
                remembering = Watched(Cache(0, Path(folder)), PASSES)
            values = [at for at, block in enumerate(blocks) if block.kind != "tell"]
            root = values[number % len(values)]
            text = written(blocks, root, part)
            found = remembering(text)["out"]
            assert torch.equal(found, Watched(None)(text)["out"])
            run = fewest(units(blocks, root), known)
            assert len(remembering.called) == sum(unit.calls for unit in run), remembering.called
            known |= {unit for unit in run if unit.kept}
