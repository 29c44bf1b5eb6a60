"""What the plan makes of the shipped graphs."""

import pytest

import nodes
from graph import load
from runtime.plan import make_plan

assert nodes.__all__  # importing registers the node types


def planned(name, **inputs):
    graph = load(name)
    known = {key: entry.default for key, entry in graph.inputs.items() if not entry.required}
    return make_plan(graph, known | inputs)


def in_the_loop(plan):
    return [inner.name for block in plan.blocks for inner in getattr(block, "body", ())]


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("sd15", "denoise/cond+uncond"),
        ("sdxl", "denoise/cond+uncond"),
        ("controlnet", "denoised/denoise/cond+uncond"),
        ("instruct-pix2pix", "denoise/both+alone+uncond"),
        ("regional", "denoise/whole+one+two+uncond"),
    ],
)
def test_guidance_is_one_call_of_the_network(name, call):
    blocks = in_the_loop(planned(name, prompt="a house"))
    assert call in blocks
    assert f"{call.rpartition('/')[0]}/uncond" not in blocks


def test_guidance_of_scale_one_neither_asks_nor_reads_the_negative_prompt():
    plan = planned("sd15", prompt="a house", guidance_scale=1.0)
    assert in_the_loop(plan) == ["denoise/cond", "denoise/next"]
    assert not any(block.name.startswith("no_text") for block in plan.blocks)


def test_the_text_is_read_before_the_unet_is_loaded():
    names = [block.name for block in planned("sdxl", prompt="a house").blocks]
    assert max(map(names.index, ("text/first/read", "text/second/read"))) < names.index("unet")
