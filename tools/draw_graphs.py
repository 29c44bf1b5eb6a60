"""Draw the pictures of docs/graphs.md: `python -m tools.draw_graphs`.

Shapes and costs are those of the published checkpoints. A check needs their configs alone, which
come from the table of families, so nothing is downloaded.
"""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from graph import Graph, load, shipped_graphs
from graph.draw import scene_of, svg
from graph.draw.words import first_sentence
from nodes.weights.clip_vocabulary import with_vocabularies
from nodes.weights.families import known_families
from runtime.cli.show import known_facts

ROOT = Path(__file__).parent.parent
PAGE, PICTURES = ROOT / "docs" / "graphs.md", ROOT / "docs" / "images" / "graphs"
FAMILIES = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": "sd1",
    "stable-diffusion-v1-5/stable-diffusion-inpainting": "sd1-inpaint",
    "timbrooks/instruct-pix2pix": "instruct-pix2pix",
    "SimianLuo/LCM_Dreamshaper_v7": "lcm",
    "stabilityai/stable-diffusion-2-1": "sd2",
    "stabilityai/stable-diffusion-2-depth": "sd2-depth",
    "stabilityai/stable-diffusion-x4-upscaler": "x4-upscaler",
    "stabilityai/stable-diffusion-xl-base-1.0": "sdxl",
    "stabilityai/stable-diffusion-xl-refiner-1.0": "sdxl-refiner",
    "stabilityai/sdxl-turbo": "sdxl",
    "lllyasviel/control_v11p_sd15_canny": "controlnet",
}
DDPM = {
    "config.json": {
        "_class_name": "UNet2DModel",
        "sample_size": 256,
        "in_channels": 3,
        "out_channels": 3,
        "layers_per_block": 2,
        "block_out_channels": [128, 128, 256, 256, 512, 512],
        "down_block_types": [*["DownBlock2D"] * 4, "AttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "AttnUpBlock2D", *["UpBlock2D"] * 4],
        "downsample_padding": 0,
        "flip_sin_to_cos": False,
        "freq_shift": 1,
        "norm_eps": 1e-6,
    },
    "scheduler_config.json": {
        "_class_name": "DDPMScheduler",
        "num_train_timesteps": 1000,
        "beta_start": 0.0001,
        "beta_end": 0.02,
        "beta_schedule": "linear",
    },
}
OF_SDXL = ("encode_prompt_sdxl", "encode_pooled")
# What a run must be given; a picture shows that it must.
TEXTS, PATHS = ("prompt", "negative_prompt", "first", "second", "then"), ("image", "mask", "depth")
HEAD = """\
# The graphs

The graphs that come with run-graph, as `run-graph show GRAPH --svg FILE` draws them. A violet frame
is a loop: what it walks and carries comes in at the top, and the thick line hands a value to the
next step; [multi-controlnet](#multi-controlnet) has a loop in a loop. A grey frame is another
graph file that stands in this one. Colours say what flows; a blue label is an input, and the
numbers are those of the checkpoint that the graph names. In a picture that is opened by itself,
pointing at a box tells more; `--html` makes a page of that. Without `--svg` the drawing is made
of text, and `--mermaid` is for Markdown.

`python -m tools.draw_graphs` writes this page.
"""


def main() -> None:
    """Draw every shipped graph and write the page that shows them."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    drawn = pictures()
    for old in PICTURES.glob("*.svg"):
        old.unlink()
    for name, picture in drawn.items():
        (PICTURES / f"{name}.svg").write_text(picture, encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """Write the page: those that one runs, then those that stand in others."""
    graphs = [load(name) for name in shipped_graphs()]
    whole = [graph for graph in graphs if "output" in graph.inputs]
    parts = [graph for graph in graphs if "output" not in graph.inputs]
    sections = [("To run", whole), ("To put into others", parts)]
    lines = [HEAD]
    for title, chosen in sections:
        lines.append(f"## {title}\n")
        for graph in chosen:
            lines.append(f"### [{graph.name}](../graphs/{graph.name}.yaml)\n")
            lines.append(f"{first_sentence(graph.doc)}\n")
            lines.append(f"![{graph.name}](images/graphs/{graph.name}.svg)\n")
    return "\n".join(lines)


def pictures() -> dict[str, str]:
    """Draw every shipped graph."""
    with tempfile.TemporaryDirectory() as folder:
        return {name: picture(name, Path(folder)) for name in shipped_graphs()}


def picture(name: str, folder: Path) -> str:
    """Draw one shipped graph; a folder takes the configs of its checkpoints."""
    graph = load(name)
    facts, report = known_facts(graph, stand_ins(graph, folder))
    for finding in report.findings:
        print(f"{name}: {finding.message}")
    return svg(scene_of(graph, replace(facts, values={})))


def stand_ins(graph: Graph, folder: Path) -> dict[str, Any]:
    """Give inputs of which the check can tell the shapes."""
    given: dict[str, Any] = {}
    for name, entry in graph.inputs.items():
        if not entry.required and isinstance(entry.default, str):
            if entry.default in FAMILIES:
                given[name] = str(checkpoint(FAMILIES[entry.default], folder))
            elif entry.default == "google/ddpm-cat-256":
                given[name] = str(written(folder / "ddpm", DDPM))
        elif entry.required and name == "model":
            given[name] = str(checkpoint("sdxl" if graph.name in OF_SDXL else "sd1", folder))
        elif entry.required and name in TEXTS:
            given[name] = "a lighthouse in a storm"
        elif entry.required and name in PATHS and entry.annotation is str:
            given[name] = str(folder / "picture.png")
            Image.new("RGB", (512, 512)).save(given[name])
    return given


def checkpoint(family: str, folder: Path) -> Path:
    """Write the small files of a published checkpoint."""
    files = with_vocabularies(known_families()[family].files({}))
    return written(folder / family, files)


def written(folder: Path, files: Mapping[str, Any]) -> Path:
    """Write files into a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


if __name__ == "__main__":
    main()
