"""The gallery shows the graphs as they are, and its commands are ones that they take."""

import re
import shlex

from PIL import Image

from graph import load, parse_inputs
from tools.gallery import IMAGES, PAGE, SECTIONS, page


def test_the_page_is_what_the_tool_writes():
    assert PAGE.read_text() == page(), "run python -m tools.gallery"


def test_every_picture_is_there_and_small():
    files = [IMAGES / section.file for section in SECTIONS]
    assert sorted(files) == sorted(IMAGES.iterdir())
    assert sum(file.stat().st_size for file in files) < 500_000
    for file in files:
        with Image.open(file) as picture:
            assert picture.width <= 850


def test_its_commands_are_taken_and_its_yaml_is_the_graphs():
    commands = re.findall(r"^run-graph (\S+) ((?:.*\\\n)?.*)$", PAGE.read_text(), re.MULTILINE)
    blocks = re.findall(r"```yaml\n(.*?)\n```", PAGE.read_text(), re.DOTALL)
    assert len(commands) == len(blocks) == len(SECTIONS)
    for (name, words), block in zip(commands, blocks, strict=True):
        graph = load(name.removesuffix(".yaml"))
        parse_inputs(graph, shlex.split(words.replace("\\\n", " ")))
        assert set(block.splitlines()) <= set(graph.source.splitlines())
        assert len(block.splitlines()) >= 3
