"""What a picture says of how it was made, and whether it can be made again of that."""

import getpass
import json
import os
import re
import shutil
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from PIL import Image as Picture
from safetensors.torch import load_file, save_file

import runtime.provenance.record
from graph import GraphText, Registry, load_bundle, load_text, without_folders
from nodes.image import save_animation, save_image
from nodes.metadata import TRAINED, read_record
from nodes.weights import hub
from runtime import Session
from runtime.cli import main

ROOT = Path(__file__).parent.parent
EMOJI = ROOT / "graphs" / "checkpoints" / "emoji-32"
RECORD = {
    "format": 1, "run-graph": "0.1.0", "graph": [], "shortened": [], "nodes": {}, "machine": {},
    "inputs": {"prompt": "a café ☕", "negative_prompt": "<&>\x01", "seed": 7, "steps": 3},
    "files": [
        {"block": "text", "file": "b.safetensors", "bytes": 1, "sha256": "aa"},
        {"block": "unet", "file": "a.safetensors", "bytes": 2, "sha256": "0123456789abcdef"},
    ],
    "versions": {"torch": "1"}, "block": "saved", "time": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A picture by an embedded model."""
    file = tmp_path_factory.mktemp("made") / "pair.png"
    assert main(["ddpm", "model=emoji-32", "steps=2", "seed=3", "count=2", f"output={file}"]) == 0
    return file.with_name("pair-1.png")


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "gif", "avif"])
def test_a_record_comes_back_from_every_format_that_has_a_place_for_it(ending, tmp_path):
    path = str(tmp_path / f"a.{ending}")
    first, second = save_image(torch.rand(2, 3, 16, 24), path, lambda: RECORD)
    records = [read_record(first), read_record(second)]
    assert [record["picture"] for record in records] == [0, 1]
    assert records[0]["pixels"] != records[1]["pixels"]
    assert {**records[1], "picture": 0, "pixels": 0} == {**RECORD, "picture": 0, "pixels": 0}
    assert TRAINED.encode() in first.read_bytes()


@pytest.mark.parametrize("ending", ["gif", "png", "webp"])
def test_an_animation_has_a_record_of_all_its_frames(ending, tmp_path):
    frames = [torch.full((1, 3, 8, 8), value) for value in (0.0, 0.5, 1.0)]
    found = [
        read_record(save_animation(some, str(tmp_path / f"a.{ending}"), provenance=lambda: RECORD))
        for some in (frames, frames[:2])
    ]
    assert found[0]["picture"] is None
    assert found[0]["pixels"] != found[1]["pixels"]


def test_galleries_find_the_parameters_where_a1111_writes_them(tmp_path):
    save_image(torch.zeros(2, 3, 16, 24), str(tmp_path / "a.png"), lambda: RECORD)
    with Picture.open(tmp_path / "a-1.png") as picture:
        assert picture.text["parameters"] == (
            "a café ☕\nNegative prompt: <&>\x01\n"
            "Steps: 3, Seed: 8, Size: 24x16, Model hash: 0123456789, Version: run-graph 0.1.0"
        )
    save_image(torch.zeros(1, 3, 16, 24), str(tmp_path / "a.jpg"), lambda: RECORD)
    with Picture.open(tmp_path / "a.jpg") as picture:
        comment = picture.getexif().get_ifd(0x8769)[0x9286]
        assert comment[:8] == b"UNICODE\0"
        assert comment[8:].decode("utf-16-be").startswith("a café ☕\n")


def read_as_galleries_do(text):
    """Parse what A1111 writes: by line, and the last one by its regular expression."""
    *lines, last = text.split("\n")
    named = re.findall(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)', last)
    prompt, _, negative = "\n".join(lines).partition("\nNegative prompt:")
    values = {name: json.loads(it) if it.startswith('"') else it for name, it in named}
    return prompt, negative.strip(), values


def test_the_parameters_are_read_back_whatever_is_in_them(tmp_path):
    prompt = 'a "fox",\nSteps: 3, 狐狸 🦊, (red:1.2)'
    inputs = {"prompt": prompt, "negative_prompt": "bad\nworse", "seed": 1, "steps": 3}
    record = {**RECORD, "inputs": inputs | {"model": 'me/a: "b", c', "scheduler": "unipc"}}
    (file,) = save_image(torch.zeros(1, 3, 8, 8), str(tmp_path / "a.png"), lambda: record)
    with Picture.open(file) as picture:
        found = read_as_galleries_do(picture.text["parameters"])
    assert found[:2] == (prompt, "bad\nworse")
    assert found[2] == {
        "Steps": "3", "Sampler": "unipc", "Seed": "1", "Size": "8x8", "Model hash": "0123456789",
        "Model": 'a: "b", c', "Version": "run-graph 0.1.0",
    }  # fmt: skip


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "gif", "avif"])
@pytest.mark.parametrize("prompt", ["a fox, " * 20_000, "\udcff\0 é", ""])
def test_no_prompt_costs_the_picture(tmp_path, ending, prompt):
    record = {**RECORD, "graph": [{"name": "a.yaml", "text": "# ✓"}], "inputs": {"prompt": prompt}}
    (file,) = save_image(torch.zeros(1, 3, 8, 8), str(tmp_path / f"a.{ending}"), lambda: record)
    found = read_record(file)
    if ending == "jpg" and len(prompt) > 65_000:
        assert "inputs" not in found
    else:
        assert found["inputs"] == {"prompt": prompt}
    assert TRAINED.encode() in file.read_bytes()


def test_who_wants_the_pixels_alone_gets_them(tmp_path):
    (file,) = save_image(torch.zeros(1, 3, 8, 8), str(tmp_path / "a.png"), lambda: RECORD, False)
    with Picture.open(file) as picture:
        assert picture.info == {}
    assert read_record(file) is None


def test_a_picture_of_no_network_is_not_marked_as_made_by_one(tmp_path):
    (file,) = save_image(
        torch.zeros(1, 3, 8, 8), str(tmp_path / "a.png"), lambda: {**RECORD, "files": []}
    )
    assert TRAINED.encode() not in file.read_bytes()


def test_a_record_says_all_that_made_a_picture_and_nothing_of_who_made_it(tmp_path):
    file = tmp_path / "fox.png"
    assert main(["emoji", "prompt=a fox", "steps=1", f"output={file}"]) == 0
    record = read_record(file)
    assert [file["name"] for file in record["graph"]] == [
        "emoji.yaml",
        "sd15.yaml",
        "encode_prompt.yaml",
    ]
    assert record["graph"][0]["text"] == (ROOT / "graphs" / "emoji.yaml").read_text()
    assert record["inputs"]["prompt"] == "a fox"
    assert record["inputs"]["scheduler"] == "unipc"
    assert record["inputs"]["output"] == "fox.png"
    assert record["shortened"] == ["output"]
    unet = next(
        it
        for it in record["files"]
        if it["block"] == "picture/unet" and "safetensors" in it["file"]
    )
    assert len(unet["sha256"]) == 64
    assert record["versions"]["torch"] == torch.__version__
    assert record["machine"]["device"] == "cpu"
    text = json.dumps(record)
    for secret in (str(tmp_path), str(ROOT), str(Path.home()) + "/", os.environ.get("HF_TOKEN")):
        assert not secret or secret not in text
    assert f"/{getpass.getuser()}/" not in text


def test_inputs_of_several_numbers_are_recorded_whole(tmp_path):
    file = tmp_path / "a.png"
    words = ["prompt=a", "first=b", "second=c", "model=emoji-64", "steps=1", f"output={file}"]
    assert main(["regional", *words, "first_box=[0, 0, 0.25, 1]", "guidance_scale=1"]) == 0
    record = read_record(file)
    assert record["inputs"]["first_box"] == [0, 0, 0.25, 1]
    assert record["shortened"] == ["output"]


def test_absolute_paths_in_a_graph_lose_their_folders_and_texts_stay(tmp_path):
    text = f"a: [{tmp_path}/x.png, 'C:\\Users\\me\\y.png']\nb: /imagine a/b c\nc: owner/name\n"
    file = without_folders(GraphText("g.yaml", text, {f"{tmp_path}/sub.yaml": "sub.yaml"}))
    assert file.text == "a: [x.png, 'y.png']\nb: /imagine a/b c\nc: owner/name\n"
    assert file.uses == {"sub.yaml": "sub.yaml"}


def test_a_bundle_has_every_file_of_a_graph_also_two_of_one_name(tmp_path):
    registry = Registry()

    @registry.node
    def add(a: float, b: float) -> float:
        """Add."""
        return a + b

    for folder, number in (("one", 1), ("two", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "part.yaml").write_text(
            f"inputs: {{a: }}\nnodes: {{x: {{node: add, a: $a, b: {number}}}}}\noutputs: {{x: $x}}\n"
        )
    graph = load_text(
        f"nodes:\n  a: {{graph: {tmp_path}/one/part.yaml, a: 10}}\n"
        f"  b: {{graph: {tmp_path}/two/part, a: $a}}\noutputs: {{x: $b}}\n",
        registry=registry,
    )
    files = [without_folders(file) for file in graph.files]
    assert [file.name for file in files] == ["graph.yaml", "part.yaml", "part-2.yaml"]
    shutil.rmtree(tmp_path / "one")
    assert Session("cpu")(load_bundle(files, registry)) == {"x": 13}


def replayed(capsys, *words):
    code = main(["replay", *map(str, words)])
    out, err = capsys.readouterr()
    print(out, err)
    return code, out + err


def test_a_picture_of_a_batch_is_made_again(made, capsys, tmp_path):
    to = tmp_path / "again.png"
    code, said = replayed(capsys, made, "--to", to)
    assert code == 0
    assert said.startswith(f"{made}: made again, bit-equal\nsaved ")
    with Picture.open(tmp_path / "again-1.png") as again, Picture.open(made) as first:
        assert again.tobytes() == first.tobytes()


def test_with_other_inputs_it_is_a_variation(made, capsys, tmp_path):
    to = tmp_path / "other.png"
    code, said = replayed(capsys, made, "seed=4", "steps=2", "--to", to)
    assert code == 0
    assert f"{made}: a variation was made\n  seed: was 3, is 4\nsaved " in said
    assert read_record(tmp_path / "other-1.png")["inputs"]["seed"] == 4
    code, said = replayed(capsys, made, "seed=4")
    assert code == 0
    assert "  seed: was 3, is 4\n  it was not saved: give --to FILE\n" in said
    code, said = replayed(capsys, made, "seed=3")
    assert code == 0
    assert f"{made}: made again, bit-equal\n" in said


def test_another_library_is_named(made, capsys, monkeypatch):
    versions = {**runtime.provenance.record.library_versions(), "torch": "1.13.0"}
    monkeypatch.setattr(runtime.provenance.record, "library_versions", lambda: versions)
    code, said = replayed(capsys, made)
    assert code == 0, "the pixels are the same all the same"
    assert f"  torch: was {torch.__version__}, is 1.13.0" in said


def test_a_retouched_picture_is_named(made, capsys, tmp_path):
    retouched = tmp_path / "retouched.png"
    with Picture.open(made) as picture:
        picture.load()
        picture.putpixel((3, 3), (255, 0, 255))
        picture.save(retouched, pnginfo=_chunks(picture))
    code, said = replayed(capsys, retouched)
    assert code == 0
    assert f"{retouched}: its pixels were changed after it was saved\n" in said


def test_a_forged_record_is_named(made, capsys, tmp_path):
    forged = tmp_path / "forged.png"
    with Picture.open(made) as picture:
        picture.load()
        packet = picture.info["XML:com.adobe.xmp"].replace('"seed": 3', '"seed": 4')
        picture.save(forged, pnginfo=_chunks(picture, packet))
    code, said = replayed(capsys, forged)
    assert code == 1
    assert "made again, and it is another: " in said
    assert "of 255 at the most" in said
    assert "nothing that was recorded drifted: the picture or its record was changed" in said


def _chunks(picture, packet=None):
    from PIL.PngImagePlugin import PngInfo

    chunks = PngInfo()
    chunks.add_itxt("XML:com.adobe.xmp", packet or picture.info["XML:com.adobe.xmp"])
    return chunks


def test_another_weight_file_is_named(capsys, tmp_path):
    model = tmp_path / "mine"
    shutil.copytree(EMOJI, model)
    file = tmp_path / "a.png"
    assert main(["ddpm", "steps=2", f"model={model}", f"output={file}"]) == 0
    capsys.readouterr()
    code, said = replayed(capsys, file)
    assert code == 2
    assert "input 'model' was not recorded whole, only 'mine'" in said
    assert "give it again: model=…" in said
    assert replayed(capsys, file, f"model={model}")[0] == 0
    before = sha256((EMOJI / "diffusion_pytorch_model.safetensors").read_bytes()).hexdigest()
    weights = model / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    tensors["conv_out.bias"] += 0.5
    save_file(tensors, weights)
    code, said = replayed(capsys, file, f"model={model}")
    assert code == 1
    assert f"  unet: diffusion_pytorch_model.safetensors: was SHA-256 {before}, is " in said


def test_a_repository_is_read_at_the_commit_that_it_had(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "hub" / "models--some--net"
    for commit, change in (("a" * 40, 0.0), ("b" * 40, 0.5)):
        folder = repository / "snapshots" / commit
        shutil.copytree(EMOJI, folder)
        tensors = load_file(folder / "diffusion_pytorch_model.safetensors")
        tensors["conv_out.bias"] += change
        save_file(tensors, folder / "diffusion_pytorch_model.safetensors")
    branch = repository / "refs" / "main"
    branch.parent.mkdir()
    branch.write_text("a" * 40)
    file = tmp_path / "a.png"
    assert main(["ddpm", "steps=1", "model=some/net", f"output={file}"]) == 0
    assert {fact["commit"] for fact in read_record(file)["files"]} == {"a" * 40}
    branch.write_text("b" * 40)
    hub._find.cache_clear()
    assert main(["ddpm", "steps=1", "model=some/net", f"output={tmp_path / 'b.png'}"]) == 0
    capsys.readouterr()
    code, said = replayed(capsys, file)
    assert code == 0
    assert said.startswith(f"{file}: made again, bit-equal\n")
    shutil.rmtree(repository / "snapshots" / ("a" * 40))
    hub._find.cache_clear()
    code, said = replayed(capsys, file)
    assert code == 1
    assert "'some/net' is not on this machine and the hub cannot be reached" in said


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cannot be read: cannot identify image file"),
        (None, "does not say how it was made"),
        ({"format": 99, "graph": []}, "was written by a newer run-graph"),
        ({"graph": []}, "is damaged: format: Field required"),
        ({"format": 1}, "holds no graph"),
        ({"format": 1, "graph": [{"name": "a.yaml", "text": "nodes: {x: {graph: b}}"}]},
         "the graph 'b' did not come with it"),
        ({"format": 1, "graph": [{"name": "a.yaml", "text": ""}], "nodes": {"fade": None}},
         "it was made with nodes that are not known here: fade"),
    ],
)  # fmt: skip
def test_what_cannot_be_replayed_is_said_in_one_sentence(data, message, tmp_path, capsys):
    file = tmp_path / "a.png"
    if isinstance(data, bytes):
        file.write_bytes(data)
    else:
        common = {"run-graph": "", "inputs": {}, "files": []}
        record = None if data is None else lambda: {**common, **data}
        save_image(torch.zeros(1, 3, 8, 8), str(file), record)
    code, said = replayed(capsys, file)
    assert code == 2
    assert message in said


def test_two_pictures_are_compared_by_meaning(made, tmp_path, capsys):
    other = tmp_path / "other.png"
    assert main(["ddpm", "model=emoji-32", "steps=3", "seed=3", f"output={other}"]) == 0
    capsys.readouterr()
    assert main(["diff", str(made), str(other)]) == 1
    assert capsys.readouterr().out == (
        "inputs\n  steps: was 2, is 3\n  count: was 2, is 1\n  output: was pair.png, is other.png\n"
        "pixels\n  they are not the same\n"
    )
    assert main(["diff", str(made), str(made)]) == 0
    assert capsys.readouterr().out == "they are the same\n"


def test_two_graphs_are_compared_by_meaning(tmp_path, capsys):
    text = (ROOT / "graphs" / "sd15.yaml").read_text()
    mine = tmp_path / "mine.yaml"
    lines = [line for line in text.splitlines() if not line.startswith("  saved:")]
    changed = "\n".join(lines).replace("steps: 25", "steps: 30").replace("  output: sd15.png\n", "")
    mine.write_text(
        "# Mine.\n"
        + changed.replace("scale: $guidance_scale}", "scale: 3}").replace(
            "  guidance_scale: 7.5\n", ""
        )
    )
    assert main(["diff", "sd15", str(mine)]) == 1
    assert capsys.readouterr().out == (
        "inputs\n  steps: was 25, is 30\n  guidance_scale: was 7.5, is gone\n  output: was sd15.png, is gone\n"
        "graph\n  denoise/guided.scale: was $guidance_scale, is 3.0\n  saved: was save_image, is gone\n"
        "  saved.image: was $image, is gone\n  saved.path: was $output, is gone\n"
    )
