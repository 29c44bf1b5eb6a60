"""Graphs in which a picture guides, against the development oracle's pipelines."""

import sys

import diffusers
import pytest
import torch
from diffusers.utils import logging
from PIL import Image as Picture

import nodes
from graph import load, load_text
from nodes.control import add_controls, control_steps
from nodes.image import canny
from nodes.kinds import SchedulerConfig
from nodes.schedule import schedule, split_after
from runtime import Session

pytestmark = pytest.mark.slow  # whole runs

PROMPT = "two strawberries on a blue background"
WIDTH, HEIGHT = 64, 48

assert nodes.__all__


@pytest.fixture(autouse=True)
def quiet():
    logging.set_verbosity_error()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Write two pictures; gives their paths, and the pictures."""
    generator = torch.Generator().manual_seed(0)
    folder = tmp_path_factory.mktemp("pictures")
    coarse = torch.rand(2, 3, 3, 4, generator=generator)
    pixels = torch.nn.functional.interpolate(coarse, (HEIGHT, WIDTH), mode="bilinear")
    pixels = (255 * pixels).to(torch.uint8).permute(0, 2, 3, 1)
    found = [Picture.fromarray(one.numpy()) for one in pixels]
    paths = [str(folder / f"{number}.png") for number in range(2)]
    for path, picture in zip(paths, found, strict=True):
        picture.save(path)
    return paths, found


@pytest.fixture(scope="module")
def controlnets(tiny_stable_diffusion, tmp_path_factory):
    """Write three ControlNets for the tiny Stable Diffusion; the last one pools."""
    unet = diffusers.UNet2DConditionModel.from_pretrained(tiny_stable_diffusion, subfolder="unet")
    folders = []
    for number in range(3):
        torch.manual_seed(number)
        net = diffusers.ControlNetModel.from_unet(unet, load_weights_from_unet=False)
        for layer in (*net.controlnet_down_blocks, net.controlnet_mid_block):
            torch.nn.init.normal_(layer.weight, std=0.3)
        torch.nn.init.normal_(net.controlnet_cond_embedding.conv_out.weight, std=0.3)
        net.register_to_config(global_pool_conditions=number == 2)
        folders.append(str(tmp_path_factory.mktemp("controlnet")))
        net.save_pretrained(folders[-1])
    return folders


def with_controlnets(folder, controlnets):
    nets = [diffusers.ControlNetModel.from_pretrained(path) for path in controlnets]
    pipeline = diffusers.StableDiffusionControlNetPipeline.from_pretrained(
        folder, controlnet=nets if len(nets) > 1 else nets[0], safety_checker=None,
        requires_safety_checker=False,
    )  # fmt: skip
    pipeline.scheduler = diffusers.UniPCMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def run(name, folder, tmp_path, **inputs):
    session = Session("cpu", "float32")
    output = str(tmp_path / "out.png")
    return session(load(name), model=str(folder), prompt=PROMPT, output=output, **inputs)["image"]


def seed(number):
    return torch.Generator().manual_seed(number)


ONE = {
    "whole run": (0, {}, {}),
    "part of the run, weaker": (
        1, {"strength": 0.6, "start": 0.25, "end": 0.75},
        {"controlnet_conditioning_scale": 0.6, "control_guidance_start": 0.25, "control_guidance_end": 0.75},
    ),
    "guess": (0, {"guess": True}, {"guess_mode": True}),
    "pooled": (2, {"guess": True}, {}),  # the oracle guesses of itself
}  # fmt: skip


CASES = [
    pytest.param(*case, id=name, marks=[pytest.mark.slow] if name == "pooled" else [])
    for name, case in ONE.items()
]


@pytest.mark.parametrize(("number", "ours", "theirs"), CASES)
def test_a_controlnet(
    tiny_stable_diffusion, controlnets, pictures, tmp_path, relative, number, ours, theirs
):
    paths, images = pictures
    pipeline = with_controlnets(tiny_stable_diffusion, controlnets[number : number + 1])
    told = {"num_inference_steps": 4, "output_type": "pt"}
    expected = pipeline(PROMPT, image=images[0], generator=seed(7), **told, **theirs).images
    found = run(
        "controlnet", tiny_stable_diffusion, tmp_path, image=paths[0], edges=False,
        controlnet=controlnets[number], steps=4, seed=7, **ours,
    )  # fmt: skip
    assert relative(found, expected) <= 1e-4


@pytest.mark.slow
def test_two_controlnets(tiny_stable_diffusion, controlnets, pictures, tmp_path, relative):
    paths, images = pictures
    pipeline = with_controlnets(tiny_stable_diffusion, controlnets[:2])
    expected = pipeline(
        PROMPT, image=images, num_inference_steps=4, controlnet_conditioning_scale=[0.7, 1.2],
        control_guidance_start=[0.0, 0.5], control_guidance_end=[0.5, 1.0],
        generator=seed(7), output_type="pt",
    ).images  # fmt: skip
    found = run(
        "multi-controlnet", tiny_stable_diffusion, tmp_path, images=paths,
        controlnets=controlnets[:2], strengths=[0.7, 1.2], starts=[0.0, 0.5], ends=[0.5, 1.0],
        steps=4, seed=7, width=WIDTH, height=HEIGHT,
    )  # fmt: skip
    assert relative(found, expected) <= 1e-4


# What stands in sdxl.yaml in place of its loop.
CONTROLLED = """
  net:      {node: load_controlnet, model: $controlnet}
  shown:    {node: load_image, path: $shown_path}
  asked:    {node: control_steps, schedule: $schedule, starts: [0.0], ends: [0.5]}
  denoise:  {graph: denoise_with_controls.yaml, unet: $unet, controlnets: [$net], pictures: [$shown],
             strengths: [0.8], asked: $asked, guess: false, schedule: $schedule, start: $start,
             fresh: $noise.fresh, text: $text.text, no_text: $no_text.text, size: $size,
             pooled_text: $text.pooled, no_pooled_text: $no_text.pooled, guidance_scale: $guidance_scale}

"""


@pytest.mark.slow
def test_a_controlnet_of_sdxl(tiny_sdxl, pictures, tmp_path, relative):
    (base, folder), (paths, images) = tiny_sdxl, pictures
    torch.manual_seed(3)
    net = diffusers.ControlNetModel.from_unet(base.unet, load_weights_from_unet=False)
    for layer in (*net.controlnet_down_blocks, net.controlnet_mid_block):
        torch.nn.init.normal_(layer.weight, std=0.3)
    torch.nn.init.normal_(net.controlnet_cond_embedding.conv_out.weight, std=0.3)
    net.save_pretrained(tmp_path / "net")
    pipeline = diffusers.StableDiffusionXLControlNetPipeline(**base.components, controlnet=net)
    pipeline.set_progress_bar_config(disable=True)
    told = {"num_inference_steps": 4, "generator": seed(7), "output_type": "pt"}
    expected = pipeline(
        PROMPT, image=images[0], control_guidance_end=0.5, controlnet_conditioning_scale=0.8, **told
    ).images
    source = load("sdxl").source
    loop = source[source.index("  denoise:") : source.index("  image:  ")]
    text = source.replace(loop, CONTROLLED.lstrip("\n"))
    text = text.replace("inputs:\n", "inputs:\n  controlnet:\n  shown_path:\n", 1)
    found = Session("cpu", "float32")(
        load_text(text), model=folder, prompt=PROMPT, controlnet=str(tmp_path / "net"),
        shown_path=paths[0], steps=4, seed=7, width=WIDTH, height=HEIGHT,
        output=str(tmp_path / "out.png"),
    )["image"]  # fmt: skip
    assert relative(found, expected) <= 1e-4


@pytest.mark.slow
def test_a_controlnet_changes_the_picture(
    tiny_stable_diffusion, controlnets, pictures, tmp_path, relative
):
    told = {"steps": 2, "width": WIDTH, "height": HEIGHT}
    plain = run("sd15", tiny_stable_diffusion, tmp_path, **told)
    nothing = {"images": [], "controlnets": [], "strengths": [], "starts": [], "ends": []}
    without = run("multi-controlnet", tiny_stable_diffusion, tmp_path, **nothing, **told)
    assert relative(without, plain) <= 1e-4  # one call for both predictions changes low bits
    given = {"image": pictures[0][0], "edges": False, "controlnet": controlnets[0], **told}
    guided = run("controlnet", tiny_stable_diffusion, tmp_path, **given)
    assert relative(guided, plain) > 1e-2


def test_an_adapter(tiny_stable_diffusion, pictures, tmp_path, relative):
    _, images = pictures
    torch.manual_seed(0)
    adapter = diffusers.T2IAdapter(in_channels=1, channels=(32, 64, 64, 64))
    adapter.save_pretrained(tmp_path / "adapter")
    pipeline = diffusers.StableDiffusionAdapterPipeline.from_pretrained(
        tiny_stable_diffusion, adapter=adapter, safety_checker=None, requires_safety_checker=False
    )
    pipeline.scheduler = diffusers.UniPCMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    grey = images[0].convert("L")
    grey.save(tmp_path / "grey.png")
    told = {"num_inference_steps": 3, "width": WIDTH, "height": HEIGHT, "output_type": "np"}
    expected = pipeline(
        PROMPT, image=grey, adapter_conditioning_scale=0.8, generator=seed(7), **told
    ).images
    found = run(
        "t2i-adapter", tiny_stable_diffusion, tmp_path, image=str(tmp_path / "grey.png"),
        edges=False, adapter=str(tmp_path / "adapter"), strength=0.8, steps=3, seed=7,
    )  # fmt: skip
    assert relative(found, torch.from_numpy(expected).permute(0, 3, 1, 2)) <= 1e-4


def test_edges_are_those_of_opencv(pictures):
    cv2 = pytest.importorskip("cv2")
    square = torch.zeros(2, 3, 32, 32)
    square[1, :, 8:24, 8:24] = 0.8
    edges = canny(square)
    assert edges.shape == square.shape
    assert not edges[0].any()
    assert set(edges.unique().tolist()) == {0.0, 1.0}
    expected = cv2.Canny((255 * square[1]).round().byte().permute(1, 2, 0).numpy(), 100, 200)
    assert torch.equal(edges[1, 0], torch.from_numpy(expected) / 255)
    assert not canny(square, high=5000, low=5000).any()


def test_edges_without_opencv_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ImportError, match=r"edges need OpenCV: pip install 'run-graph\[edges\]'"):
        canny(torch.zeros(1, 3, 8, 8))


def steps_of(count):
    return schedule(SchedulerConfig({"_class_name": "DDIMScheduler"}), torch.device("cpu"), steps=count)  # fmt: skip


def test_a_part_of_the_run_is_counted_over_the_whole():
    asked = control_steps(steps_of(4), [0.0, 0.5], [0.5, 1.0])
    assert asked == [[True, False]] * 2 + [[False, True]] * 2
    tail = split_after(steps_of(4), 2).tail
    assert control_steps(tail, [0.0, 0.5], [0.5, 1.0]) == [[False, True]] * 2
    assert add_controls([None, None]) is None


def test_a_part_of_the_run_that_is_none_is_refused():
    with pytest.raises(ValueError, match="there are 1 `starts` and 2 `ends`"):
        control_steps(steps_of(2), [0.0], [1.0, 1.0])
    with pytest.raises(
        ValueError, match=r"a part of the run begins at 0.5 and ends at 0.5 in `ends`"
    ):
        control_steps(steps_of(2), [0.5], [0.5])
