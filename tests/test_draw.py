"""Pictures of graphs as text, Mermaid, SVG and pages: what is in them, and that they are safe."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

import nodes
from graph import Registry, load, load_text
from graph.draw import Facts, html, mermaid, scene_of, svg, text
from graph.draw.scene import boxes_of, frames_of
from runtime.cli import main

assert nodes.__all__
OWN = Registry()


@OWN.node
def seed(number: int, words: str = "") -> list[float]:
    """Make some numbers. <script>alert("node")</script>"""
    return [float(number)]


@OWN.node
def add(one: float, other: float, times: float = 1.0) -> float:
    """Add a number to another."""
    return one + other * times


@OWN.node(effect=True)
def keep(value: float, extra: list[float]) -> None:
    """Keep numbers."""


# Two loops in each other; a subgraph is not needed for that.
NESTED = """\
# Sums of sums.
inputs: {start: 0.0, count: 3, factor: 2.0}
nodes:
  rows: {node: seed, number: $count}
  columns: {node: seed, number: 5, words: "the second"}
  outer:
    for: {row: $rows}
    carry: {total: {from: $start, then: $inner.sum}}
    nodes:
      inner:
        for: {column: $columns}
        carry: {sum: {from: $total, then: $next}}
        nodes:
          next: {node: add, one: $sum, other: $column, times: $factor}
    collect: {sums: $inner.sum}
  kept: {node: keep, value: $outer.total, extra: $outer.sums}
outputs: {total: $outer.total}
"""
DRAWN = """\
nested  Sums of sums.

inputs start 0.0  count 3  factor 2.0

rows     seed  number = $count  → list of float
columns  seed  number = 5  words = the second  → list of float
╭─ outer · 3 steps ─────────────────────────────────────────────╮
│ row    ← rows                                                 │
│ total  $start                                                 │◀╮
│                                                               │ │
│ ╭─ inner · for each column ───────────────────────────────╮   │ │
│ │ column  ← columns                                       │   │ │
│ │ sum     ← total                                         │◀╮ │ │
│ │                                                         │ │ │ │
│ │ next    add  one ← sum  other ← column  times = $factor │ │ │ │
│ │              → float  (3 × 5 FLOP)                      │ │ │ │
│ │                                                         │ │ │ │
│ │ sum     ← next                                          │─╯ │ │
│ ╰─────────────────────────────────────────────────────────╯   │ │
│                                                               │ │
│ sums   ← inner.sum                                            │ │
│ total  ← inner.sum                                            │─╯
╰───────────────────────────────────────────────────────────────╯
kept     keep  value ← outer.total  extra ← outer.sums

total    ← outer.total
"""
FLOWCHART = """\
flowchart TD
  n0["rows<br/><small>seed</small>"]
  n1["columns<br/><small>seed</small>"]
  n2["kept<br/><small>keep</small>"]
  n3(["total"])
  subgraph sn4["outer · 3 steps"]
    n4(["row"])
    n5(["total"])
    n6(["sums"])
    n7(["total"])
    subgraph sn8["inner · for each column"]
      n8(["column"])
      n9(["sum"])
      n10["next<br/><small>add</small>"]
      n11(["sum"])
    end
  end
  n0 --> n4
  n7 --> n2
  n6 --> n2
  n7 --> n3
  n1 --> n8
  n5 --> n9
  n11 --> n7
  n11 --> n6
  n7 -. "next step" .-> n5
  n9 --> n10
  n8 --> n10
  n10 --> n11
  n11 -. "next step" .-> n9
  linkStyle 0,1,2,3,4,5,6,7,8,9,10,11,12 stroke:#a1a1aa,stroke-width:2px
"""


def nested():
    facts = Facts(steps={"outer": 3}, costs={"outer/inner/next": "3 × 5 FLOP"})
    return scene_of(load_text(NESTED, "nested", OWN), facts)


def test_a_small_graph_as_text():
    drawn = text(nested(), width=72)
    print(drawn)
    assert drawn == DRAWN


def test_colour_changes_no_letter():
    scene = nested()
    coloured = text(scene, width=72, colour=True)
    assert "\033[1mrows" in coloured
    assert re.sub(r"\033\[[0-9;]*m", "", coloured) == DRAWN


def test_mermaid():
    assert mermaid(nested()) == FLOWCHART


@pytest.mark.parametrize("name", ["ddpm", "hires-fix", "lora"])
def test_mermaid_names_and_closes_what_it_opens(name):
    scene = scene_of(load(name))
    lines = [line.strip() for line in mermaid(scene).splitlines()]
    opened = sum(line.startswith("subgraph ") for line in lines)
    assert opened == lines.count("end") == len(list(frames_of(scene.root))) - 1
    declared = {found[1] for line in lines if (found := re.match(r"(n\d+)[\[(]", line))}
    assert len(declared) == sum(box.role != "passage" for box in boxes_of(scene.root))
    ends = [found for line in lines if (found := re.match(r"(n\d+) -.*> (n\d+)$", line))]
    assert {end for found in ends for end in found.groups()} <= declared
    numbered = [
        n for line in lines if line.startswith("linkStyle") for n in line.split()[1].split(",")
    ]
    assert sorted(map(int, numbered)) == list(range(len(ends)))


@pytest.mark.parametrize("draw", [svg, html, mermaid, text])
def test_the_same_graph_gives_the_same_picture(draw):
    assert draw(nested()) == draw(nested())


SPACE = "{http://www.w3.org/2000/svg}"


def test_every_block_port_and_wire_is_in_the_svg():
    scene = scene_of(load("sd15"))
    root = ElementTree.fromstring(svg(scene))
    words = [element.text for element in root.iter(f"{SPACE}text")]
    for box in boxes_of(scene.root):
        if box.role == "passage":
            continue
        assert box.title in words
        for port in (*box.inputs, *box.outputs):
            assert not port.label or port.label in words, port
        for setting in box.settings:
            assert setting.words in words
    paths = [path for path in root.iter(f"{SPACE}path") if "wire" in path.get("class").split()]
    told = sorted(path.find(f"{SPACE}title").text for path in paths)
    wires = [wire.words for f in frames_of(scene.root) for wire in (*f.wires, *f.backs)]
    assert told == sorted([*wires, "handed to the next step"])  # the last is of the legend
    circles = [circle for circle in root.iter(f"{SPACE}circle") if circle.get("r") == "4"]
    ports = [port for box in boxes_of(scene.root) if box.role != "passage"
             for port in (*box.inputs, *box.outputs)]  # fmt: skip
    assert len(circles) == len(ports)


HOSTILE = """\
# A graph </title><script>alert("doc")</script> with "quotes" & more.
inputs: {words: "</script><script>alert(1)</script><img src=x onerror=alert(2)>"}
nodes:
  made: {node: seed, number: 1, words: $words}
  also: {node: seed, number: 2, words: '"]; click n0 "javascript:alert(3)"'}
outputs: {made: $made, also: $also}
"""


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.attributes = set(), set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def test_nothing_of_a_graph_becomes_markup():
    scene = scene_of(load_text(HOSTILE, 'x"><script>', OWN))
    picture = svg(scene)
    tags = {element.tag.removeprefix(SPACE) for element in ElementTree.fromstring(picture).iter()}
    assert tags == {"svg", "style", "rect", "text", "circle", "g", "title", "path"}
    page, reader = html(scene), Reader()
    reader.feed(page)
    assert reader.tags == tags | {"html", "meta", "main", "aside", "script"}
    assert not [
        name for name in reader.attributes if name in ("src", "href") or name.startswith("on")
    ]
    assert "default-src 'none'" in page
    assert not re.search(r"url\(|@import", svg(nested()))
    for label in re.findall(r'"(.*)"', mermaid(scene)):
        plain = label.replace("<br/><small>", "").replace("</small>", "")
        assert not set(plain) & set('"<>[]')


def test_a_wrong_graph_is_told_and_not_drawn(tmp_path, capsys):
    file = tmp_path / "wrong.yaml"
    file.write_text("nodes: {made: {node: guidence}}\n")
    picture = tmp_path / "wrong.svg"
    assert main(["show", str(file), "--svg", str(picture)]) == 2
    out, err = capsys.readouterr()
    assert "there is no node 'guidence'" in err
    assert out == ""
    assert not picture.exists()


def test_wrong_shapes_are_told_and_not_drawn(capsys):
    assert main(["show", "sd15", "model=emoji-64", "prompt=x", "width=101"]) == 2
    out, err = capsys.readouterr()
    assert "width" in err
    assert out == ""


def test_show_draws_with_shapes_and_costs(capsys):
    words = ["show", "sd15", "model=emoji-64", "prompt=a cat"]
    assert main(words) == 0
    drawn = capsys.readouterr().out
    assert "╭─ denoise · 25 steps ─" in drawn
    assert "→ prediction 1×4×16×16  (25 × " in drawn
    assert "(made once, with text/encoder)" in drawn


@pytest.mark.parametrize(
    ("form", "start"),
    [("--svg", "<svg "), ("--html", "<!DOCTYPE html>"), ("--mermaid", "flowchart TD")],
)
def test_show_writes_each_form(form, start, tmp_path, capsys):
    picture = tmp_path / "picture"
    file = [] if form == "--mermaid" else [str(picture)]
    assert main(["show", "encode_prompt", "model=emoji-64", "prompt=x", form, *file]) == 0
    out = capsys.readouterr().out
    assert (picture.read_text() if file else out).startswith(start)


def test_a_graph_whose_checkpoint_is_not_here_is_drawn_without_shapes(capsys):
    assert main(["show", "ddpm", "--offline"]) == 0
    out, err = capsys.readouterr()
    assert "╭─ denoise · for each step ─" in out
    assert "shapes and costs are not all known: 'unet' (load_unet): 'google/ddpm-cat-256'" in err
