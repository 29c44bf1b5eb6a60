"""Every pass of the plan: what it changes, what it leaves alone, and that outputs stay the same."""

from typing import Annotated, NamedTuple

import pytest
import torch
from torch import Tensor

from graph import Kind, Registry, bind, load_text
from runtime import NodeFinished, NodeStarted, Session
from runtime.plan import PASSES, make_plan

registry = Registry()
node = registry.node
Sample = Annotated[Tensor, Kind("sample", "B C")]
Text = Annotated[Tensor, Kind("text", "B N")]
Extra = Annotated[tuple[Tensor, ...], Kind("extra", "B C")]


class Two(NamedTuple):
    sum: Sample
    extra: Extra


@node
def begin(count: int) -> Sample:
    """Begin."""
    return torch.arange(2.0 * count).reshape(count, 2) / 7


@node
def text(words: float, length: int = 3, count: int = 1) -> Text:
    """Read a text."""
    return torch.full((count, length), words)


@node(batched=True)
def network(
    sample: Sample, time: float, text: Text | None = None, extra: Extra | None = None
) -> Sample:
    """Predict."""
    told = 0 if text is None else text.mean(dim=1, keepdim=True)
    return sample * time + told + sum(extra or ())


@node(batched=True)
def encoder(sample: Sample, text: Text) -> Two:
    """Give two results, one of them a tuple."""
    told = text.mean(dim=1, keepdim=True)
    return Two(sample + told, (sample * told, told))


@node(shortcut=lambda scale: {0: "uncond", 1: "cond"}.get(scale))
def guide(cond: Sample, uncond: Sample, scale: float = 7.5) -> Sample:
    """Guide."""
    return torch.lerp(uncond, cond, scale)


@node
def add(a: Sample, b: Sample | None = None) -> Sample:
    """Add."""
    return a if b is None else a + b


@node
def ignore(scale: float, count: int, longer: int, flag: bool) -> int:
    """Use the inputs that a body does not."""
    return 0


@node
def join(texts: list[Text]) -> Text:
    """Join."""
    return torch.cat(texts)


@node
def extra_of(two: Two | None) -> Extra | None:
    """Take the extra of what is there."""
    return two and two.extra


@node
def is_small(sample: Sample) -> bool:
    """Tell."""
    return bool(sample.abs().max() < 1)


@node(effect=True)
def show(a: Sample) -> int:
    """Show."""
    return len(a)


LOOP = """
inputs: {{scale: 2.0, count: 2, longer: 3, flag: true}}
nodes:
  unused: {{node: ignore, scale: $scale, count: $count, longer: $longer, flag: $flag}}
  start: {{node: begin, count: $count}}
  yes: {{node: text, words: 5}}
  no: {{node: text, words: 3, length: $longer}}
  loop:
    for: {{time: [0.5, 0.25, 2.0]}}
    carry: {{sample: {{from: $start, then: $next}}}}
    nodes:
{body}
outputs: {{sample: $loop.sample}}
"""
GUIDED = """
      cond: {node: network, sample: $sample, time: $time, text: $yes}
      uncond: {node: network, sample: $sample, time: $time, text: $no}
      next: {node: guide, cond: $cond, uncond: $uncond, scale: $scale}
"""


def run(source, passes=PASSES, **inputs):
    called = []

    def listen(event):
        if isinstance(event, NodeStarted):
            called.append(event.call.name)

    graph = load_text(source, "graph", registry)
    outputs = Session("cpu", "float32", listen, passes, each_node=True)(graph, **inputs)
    return outputs["sample"], called


def both(body, only, **inputs):
    """Run with one pass and without any: the same outputs, and the calls that are left."""
    source = LOOP.format(body=body)
    plain, _ = run(source, (), **inputs)
    planned, called = run(source, (only,), **inputs)
    assert torch.allclose(plain, planned, rtol=1e-6, atol=0)
    return called


def test_twins_are_one_call():
    called = both(GUIDED, "twins")
    assert called[3:6] == ["loop/cond+uncond/text", "loop/cond+uncond", "loop/next"]
    assert len(called) == 3 + 3 * 3


@pytest.mark.parametrize("inputs", [{"count": 1}, {"longer": 4}])
def test_twins_of_one_picture_and_of_texts_that_differ_in_length(inputs):
    assert "loop/cond+uncond" in both(GUIDED, "twins", **inputs)


def test_three_are_one_call_as_well_and_what_differs_may_be_the_sample():
    called = both("""
      seen: {node: add, a: $sample, b: $start}
      one: {node: network, sample: $seen, time: $time, text: $yes}
      two: {node: network, sample: $seen, time: $time, text: $no}
      three: {node: network, sample: $sample, time: $time, text: $no}
      part: {node: guide, cond: $one, uncond: $two, scale: $scale}
      next: {node: guide, cond: $part, uncond: $three, scale: $scale}
""", "twins")  # fmt: skip
    assert called[3:8] == [
        "loop/seen", "loop/one+two+three/sample", "loop/one+two+three/text", "loop/one+two+three", "loop/part",
    ]  # fmt: skip


def test_twins_of_twins_are_merged_and_results_may_be_tuples():
    called = both("""
      first: {node: encoder, sample: $sample, text: $yes}
      second: {node: encoder, sample: $sample, text: $no}
      cond: {node: network, sample: $first.sum, time: $time, extra: $first.extra}
      uncond: {node: network, sample: $second.sum, time: $time, extra: $second.extra}
      next: {node: guide, cond: $cond, uncond: $uncond}
""", "twins")  # fmt: skip
    assert [name for name in called if name.count("/") == 1][:3] == [
        "loop/first+second", "loop/cond+uncond", "loop/next",
    ]  # fmt: skip


def test_what_needs_the_other_or_differs_in_more_than_a_picture_is_no_twin():
    called = both("""
      one: {node: network, sample: $sample, time: $time, text: $yes}
      two: {node: network, sample: $one, time: $time, text: $no}
      three: {node: network, sample: $sample, time: 0.5, text: $no}
      part: {node: add, a: $two, b: $three}
      next: {node: add, a: $part, b: $sample}
""", "twins")  # fmt: skip
    assert not any("+" in name for name in called)


@pytest.mark.parametrize("flag", [True, False])
def test_twins_that_may_be_left_out_are_left_out_together(flag):
    body = """
      cond: {node: network, sample: $sample, time: $time, text: $yes, when: $flag}
      uncond: {node: network, sample: $sample, time: $time, text: $no, when: $flag}
      more: {node: add, a: $sample, b: $cond}
      next: {node: add, a: $more, b: $uncond}
"""
    assert ("loop/cond+uncond" in both(body, "twins", flag=flag)) == flag


INTERVAL = """
      cond: {node: network, sample: $sample, time: $time, text: $yes}
      uncond: {node: network, sample: $sample, time: $time, text: $no, when: $here, else: $cond}
      next: {node: guide, cond: $cond, uncond: $uncond}
"""


@pytest.mark.parametrize(
    ("body", "made"),
    [
        (INTERVAL, [("cond", "uncond"), ("cond",), ("cond", "uncond")]),
        (INTERVAL.replace("text: $yes}", "text: $yes, when: $late, else: $sample}"),
         [("uncond",), (), ("cond", "uncond")]),
        (INTERVAL.replace("$no,", "$no, extra: $more,").replace("$yes}", "$yes, extra: $extra.extra}")
         + """
      extra: {node: encoder, sample: $sample, text: $no}
      less: {node: encoder, sample: $sample, text: $no, when: $here}
      more: {node: extra_of, two: $less}
""", [("cond", "uncond"), ("cond",), ("cond", "uncond")]),
    ],
    ids=["one flag", "two flags", "not there where it is not asked"],
)  # fmt: skip
def test_a_twin_that_has_a_flag_runs_with_the_others_where_it_holds(body, made):
    source = LOOP.format(body=body).replace(
        "{time: [0.5, 0.25, 2.0]}",
        "{time: [0.5, 0.25, 2.0], here: [true, false, true], late: [false, false, true]}",
    )
    plain, _ = run(source, ())
    together = []

    def listen(event):
        if isinstance(event, NodeFinished) and event.call.name == "loop/cond+uncond":
            together.append(tuple(name.removeprefix("loop/") for name in event.value))

    graph = load_text(source, "graph", registry)
    session = Session("cpu", "float32", listen, ("twins",), each_node=True)
    planned = session(graph)["sample"]
    assert torch.allclose(plain, planned, rtol=1e-6, atol=0)
    assert together == made


def test_a_flag_that_needs_a_twin_keeps_them_apart():
    called = both("""
      one: {node: network, sample: $sample, time: $time, text: $yes}
      small: {node: is_small, sample: $one}
      two: {node: network, sample: $sample, time: $time, text: $no, when: $small, else: $one}
      next: {node: guide, cond: $one, uncond: $two}
""", "twins")  # fmt: skip
    assert not any("+" in name for name in called)


def test_what_a_loop_does_not_change_is_done_in_front_of_it():
    called = both("""
      twice: {node: add, a: $start, b: $start}
      thrice: {node: add, a: $twice, b: $start}
      next: {node: add, a: $sample, b: $thrice}
      shown: {node: show, a: $start}
""", "hoist")  # fmt: skip
    assert called.count("loop/twice") == called.count("loop/thrice") == 1
    assert called.count("loop/shown") == called.count("loop/next") == 3
    assert called.index("loop/thrice") < called.index("loop/next")


def test_what_twins_stack_is_done_in_front_of_the_loop():
    _, called = run(LOOP.format(body=GUIDED))
    assert called.count("loop/cond+uncond/text") == 1
    assert called.count("loop/cond+uncond") == 3


def test_hoisting_reaches_out_of_nested_loops_and_takes_whole_loops():
    called = both("""
      inner:
        for: {again: [1, 2]}
        carry: {part: {from: $sample, then: $more}}
        nodes:
          constant: {node: add, a: $start, b: $start}
          once: {node: add, a: $sample, b: $constant}
          more: {node: add, a: $part, b: $once}
      steady:
        for: {again: [1, 2]}
        carry: {part: {from: $start, then: $more}}
        nodes: {more: {node: add, a: $part, b: $start}}
      next: {node: add, a: $inner.part, b: $steady.part}
""", "hoist")  # fmt: skip
    counts = {
        name: called.count(f"loop/{name}")
        for name in ("inner/constant", "inner/once", "inner/more")
    }
    assert list(counts.values()) == [1, 3, 6]
    assert called.count("loop/steady/more") == 2


@pytest.mark.parametrize(("scale", "left"), [(1.0, "cond"), (0.0, "uncond"), (1.5, None)])
def test_guidance_of_scale_one_needs_no_unconditional_call(scale, left):
    called = set(both(GUIDED, "settle", scale=scale))
    kept = {"loop/cond", "loop/uncond", "loop/next"} if left is None else {f"loop/{left}"}
    assert {name for name in called if "/" in name} == kept
    assert ("no" in called) == (left != "cond")


@pytest.mark.parametrize("flag", [True, False])
def test_a_call_whose_flag_is_known_is_settled(flag):
    body = """
      more: {node: add, a: $sample, b: $start, when: $flag, else: $sample}
      next: {node: network, sample: $more, time: $time}
"""
    assert ("loop/more" in both(body, "settle", flag=flag)) == flag


def test_what_stands_for_a_call_that_runs_is_not_made():
    body = """
      spare: {node: add, a: $sample, b: $sample}
      next: {node: add, a: $sample, b: $start, when: $flag, else: $spare}
"""
    assert "loop/spare" not in both(body, "settle", flag=True)
    assert "loop/spare" in both(body, "settle", flag=False)


def test_an_effect_whose_flag_does_not_hold_is_gone():
    source = LOOP.format(body="""
      shown: {node: show, a: $sample, when: $flag}
      next: {node: add, a: $sample, b: $start}
""")  # fmt: skip
    plan = make_plan(
        load_text(source, "graph", registry),
        {"flag": False, "count": 2, "scale": 2.0, "longer": 3},
        ["settle"],
    )
    assert [block.name for block in plan.blocks[-1].body] == ["loop/next"]


def test_what_is_made_is_made_when_it_is_needed():
    source = """
nodes:
  large: {node: begin, count: 1}
  small: {node: text, words: 1}
  read: {node: encoder, sample: $other, text: $small}
  other: {node: begin, count: 1}
  sum: {node: add, a: $large, b: $read.sum}
outputs: {sample: $sum}
"""
    plain, written = run(source, ())
    planned, called = run(source, ("late",))
    assert torch.equal(plain, planned)
    assert written == ["large", "small", "other", "read", "sum"]
    assert called == ["small", "other", "read", "large", "sum"]


def test_what_leaves_nothing_behind_is_made_first():
    source = """
nodes:
  shared: {node: begin, count: 1}
  first: {node: network, sample: $shared, time: 1.0}
  words: {node: text, words: 1}
  own: {node: begin, count: 1}
  read: {node: network, sample: $own, time: 1.0, text: $words}
  both: {node: add, a: $first, b: $read}
  sum: {node: add, a: $both, b: $shared}
outputs: {sample: $sum}
"""
    plain, _ = run(source, ())
    planned, called = run(source, ("late",))
    assert torch.equal(plain, planned)
    assert called == ["words", "own", "read", "shared", "first", "both", "sum"]


def test_what_two_loops_do_not_change_is_done_once_for_both():
    loop = """
  {0}:
    for: {{time: [0.5]}}
    carry: {{sample: {{from: {1}, then: $next}}}}
    nodes: {{same: {{node: begin, count: 1}}, next: {{node: add, a: $sample, b: $same}}}}"""
    loops = loop.format("one", "$start") + loop.format("other", "$one.sample")
    source = (
        f"nodes:\n  start: {{node: begin, count: 2}}{loops}\noutputs: {{sample: $other.sample}}\n"
    )
    assert run(source, ("hoist",))[1] == ["start", "one/same", "one/next", "other/next"]


def test_inputs_that_are_equal_make_calls_equal():
    source = """
inputs: {one: 1.0, two: 2.0}
nodes:
  first: {node: text, words: $one}
  second: {node: text, words: $two}
  sample: {node: join, texts: [$first, $second]}
outputs: {sample: $sample}
"""
    assert run(source, ("share",), two=1.0)[1] == ["first", "sample"]


def test_a_pass_that_there_is_not_is_refused():
    graph = load_text(LOOP.format(body=GUIDED), "graph", registry)
    with pytest.raises(
        ValueError, match="no pass 'merge': they are settle, share, twins, hoist, late"
    ):
        make_plan(graph, bind(graph, {}), ["merge"])
