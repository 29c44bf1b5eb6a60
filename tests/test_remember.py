"""What a run asks of earlier runs, and what it then leaves undone."""

from graph import Registry, load_text
from runtime import NodeStarted, Session
from runtime.cache.remember import FORGOTTEN

registry = Registry()
GRAPH = """
inputs: {a: 1}
nodes:
  one: {node: add, a: $a, b: 1}
  two: {node: add, a: $one, b: 1}
  loop:
    for: {item: [1, 2]}
    carry: {sum: {from: $two, then: $next}}
    nodes: {next: {node: add, a: $sum, b: $item}}
  told: {node: tell, a: $loop.sum}
outputs: {sum: $loop.sum}
"""


@registry.node
def add(a: float, b: float) -> float:
    """Add."""
    return a + b


@registry.node(effect=True)
def tell(a: float) -> float:
    """Have an effect."""
    return a


class Diary:
    """Remembers values by the names of the blocks."""

    def __init__(self):
        self.kept, self.asked = {}, []

    def recall(self, block):
        self.asked.append(block.name)
        return self.kept.get(block.name, FORGOTTEN)

    def keep(self, block, value):
        self.kept[block.name] = value


def run(diary):
    called = []

    def listen(event):
        if isinstance(event, NodeStarted):
            called.append(event.call.name)

    session = Session("cpu", "float32", listen, cache=lambda *_: diary, each_node=True)
    return session(load_text(GRAPH, "graph", registry))["sum"], called


def test_a_first_run_tells_every_block_and_a_loop_as_one():
    diary = Diary()
    assert run(diary) == (6, ["one", "two", "loop/next", "loop/next", "told"])
    assert diary.kept == {"one": 2, "two": 3, "loop": {"sum": 6}, "told": 6}


def test_what_is_remembered_is_not_run_nor_what_only_it_needs():
    diary = Diary()
    run(diary)
    diary.asked = []
    assert run(diary) == (6, ["told"])
    assert diary.asked == ["loop"]


def test_what_comes_after_a_remembered_block_is_run():
    diary = Diary()
    diary.kept = {"two": 10}
    assert run(diary) == (13, ["loop/next", "loop/next", "told"])
