"""The geometry of pictures: nothing lies on anything else, and every wire ends where it should."""

from itertools import combinations, pairwise

import pytest

import nodes
from graph import load, shipped_graphs
from graph.draw import lay_out, scene_of
from graph.draw.measure import LABEL_ROW, measure
from graph.draw.scene import Back, Box, Port, boxes_of, frames_of

assert nodes.__all__
SOME = ["ddpm", "sd15", "lora", "hires-fix"]  # a loop, groups beside it, two carries, two loops
slow = [pytest.param(name, marks=pytest.mark.slow) for name in shipped_graphs() if name not in SOME]
every_graph = pytest.mark.parametrize("name", [*SOME, *slow])
SLACK = 0.01


def rectangle(placed):
    width, height = (
        (placed.measured.width, placed.measured.height)
        if hasattr(placed, "measured")
        else (placed.width, placed.height)
    )
    return placed.x, placed.y, placed.x + width, placed.y + height


def overlap(one, other, slack=SLACK):
    return (
        one[0] < other[2] - slack
        and other[0] < one[2] - slack
        and one[1] < other[3] - slack
        and other[1] < one[3] - slack
    )


def inside(inner, outer):
    return (
        inner[0] >= outer[0]
        and inner[1] >= outer[1]
        and inner[2] <= outer[2]
        and inner[3] <= outer[3]
    )


@every_graph
def test_pictures_are_sound(name):
    scene = scene_of(load(name))
    root = lay_out(scene.root)
    everything_is_there(scene.root, root)
    for frame in root.walk():
        nothing_overlaps(frame)
        wires_end_at_their_ports(frame)
        wires_run_clear(frame)


def everything_is_there(scene, root):
    placed = [box.box for frame in root.walk() for box in frame.boxes]
    assert sorted(box.name for box in placed) == sorted(box.name for box in boxes_of(scene))
    drawn = [wire.wire for frame in root.walk() for wire in frame.wires]
    expected = [wire for frame in frames_of(scene) for wire in (*frame.wires, *frame.backs)]
    assert sorted(map(str, drawn)) == sorted(map(str, expected))


def nothing_overlaps(frame):
    shapes = [(box.box.name, rectangle(box)) for box in frame.boxes if box.box.role != "passage"]
    shapes += [(inner.frame.name, rectangle(inner)) for inner in frame.frames]
    for (one, first), (other, second) in combinations(shapes, 2):
        assert not overlap(first, second), f"{one} lies on {other}"
    for shape_name, shape in shapes:
        assert inside(shape, rectangle(frame)), f"{shape_name} juts out of {frame.frame.name}"


def places_of_ports(frame):
    above, below = {}, {}
    for box in frame.boxes:
        bottom = box.y + box.measured.height
        above |= {(box.box.name, key): (box.x + x, box.y) for key, x in box.measured.inputs.items()}
        below |= {
            (box.box.name, key): (box.x + x, bottom) for key, x in box.measured.outputs.items()
        }
    for inner in frame.frames:
        tops, bottoms = places_of_ports(inner)
        entries = {box.name for box in inner.frame.entries}
        exits = {box.name for box in inner.frame.exits}
        above |= {(inner.frame.name, key): at for (box, key), at in tops.items() if box in entries}
        below |= {(inner.frame.name, key): at for (box, key), at in bottoms.items() if box in exits}
    return above, below


def wires_end_at_their_ports(frame):
    above, below = places_of_ports(frame)
    for wire in frame.wires:
        if not isinstance(wire.wire, Back):
            assert wire.points[0] == pytest.approx(below[tuple(wire.wire.source)])
            assert wire.points[-1] == pytest.approx(above[tuple(wire.wire.target)])
        for one, other in pairwise(wire.points):
            assert one.x == pytest.approx(other.x) or one.y == pytest.approx(other.y)


def wires_run_clear(frame):
    for wire in frame.wires:
        if isinstance(wire.wire, Back):
            ends = {wire.wire.source, wire.wire.target}
        else:
            ends = {wire.wire.source.box, wire.wire.target.box}
        shapes = [(b.box.name, rectangle(b)) for b in frame.boxes if b.box.role != "passage"]
        shapes += [(inner.frame.name, rectangle(inner)) for inner in frame.frames]
        for one, other in pairwise(wire.points):
            line = (
                min(one.x, other.x),
                min(one.y, other.y),
                max(one.x, other.x),
                max(one.y, other.y),
            )
            for shape_name, shape in shapes:
                if shape_name not in ends:
                    assert not overlap(line, shape, -1), (
                        f"{wire.wire.words} runs through {shape_name}"
                    )
        own = frame.frame
        if own.name:
            title = (frame.x + 18, frame.y + 10, frame.x + 80, frame.y + 42)
            for one, other in pairwise(wire.points):
                line = (
                    min(one.x, other.x),
                    min(one.y, other.y),
                    max(one.x, other.x),
                    max(one.y, other.y),
                )
                assert not overlap(line, title), f"{wire.wire.words} runs through a title"


@every_graph
def test_wires_of_different_nets_do_not_lie_on_each_other(name):
    for frame in lay_out(scene_of(load(name)).root).walk():
        lines = []
        for wire in frame.wires:
            net = wire.wire.source if isinstance(wire.wire, Back) else wire.wire.origin
            lines += [(net, one, other) for one, other in pairwise(wire.points)]
        for (net, a, b), (another, c, d) in combinations(lines, 2):
            if net != another:
                for along, across in ((0, 1), (1, 0)):
                    if abs(a[across] - b[across]) + abs(c[across] - d[across]) < SLACK:
                        shared = min(max(a[along], b[along]), max(c[along], d[along])) - max(
                            min(a[along], b[along]), min(c[along], d[along])
                        )
                        assert abs(a[across] - c[across]) > 2 or shared < 1, (
                            net,
                            another,
                            a,
                            b,
                            c,
                            d,
                        )


def test_a_shape_stands_below_the_name_of_what_a_loop_carries():
    out = Port("out", "", "latents", "latents", "1×4×16×16 float32")
    measured = measure(Box("refine/sample", "sample", "variable", (), (out,)))
    (shape,) = measured.labels()
    assert shape.text == "1×4×16×16"
    assert shape.y - max(text.y for text in measured.texts) >= LABEL_ROW - 4
