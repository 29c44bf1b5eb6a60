"""The command as a person uses it: exit codes, messages, help, own nodes."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from runtime.cli import main

ROOT = Path(__file__).parent.parent
SD15 = (ROOT / "graphs" / "sd15.yaml").read_text()


def change(*pairs: tuple[str, str]) -> str:
    text = SD15
    for old, new in pairs:
        assert old in text, f"sd15.yaml no longer has {old!r}"
        text = text.replace(old, new, 1)
    return text


WRONG = {
    "misspelt node": (
        change(("{node: guidance,", "{node: guidence,")), [],
        "there is no node 'guidence'", "did you mean 'guidance'?",
    ),
    "misspelt argument": (
        change(("scale: $guidance_scale}", "sclae: $guidance_scale}")), [],
        "'guidance' has no parameter 'sclae'", "did you mean 'scale'?",
    ),
    "wrong type": (
        change(("latents: $denoise.state.sample", "latents: $text")), [],
        "'latents' of 'vae_decode' takes latents, but $text is text embedding", "",
    ),
    "missing argument": (
        change((", cond: $cond", "")), [], "'guided' does not give 'cond', which 'guidance' needs", "",
    ),
    "missing input": (SD15, ["steps=3"], "input 'prompt' must be given", ""),
    "reference cycle": (
        change(("config: $config, scheduler", "config: $start, scheduler")), [], "a cycle:", "",
    ),
    "misspelt reference": (
        change(("noise: $noise.initial", "noise: $nose.initial")), [],
        "there is no 'nose' here", "did you mean 'noise'?",
    ),
    "misspelt field": (
        change(("noise: $noise.initial", "noise: $noise.inital")), [], "$noise is Noise, which has no field 'inital'", "did you mean 'initial'?",
    ),
    "a carry that changes its type": (
        change(("then: $next}", "then: $guided}")), [],
        "'state' starts as State and becomes prediction", "",
    ),
    "two blocks of one name": (
        change(("  vae:      {node: load_vae", "  unet:     {node: load_vae")), [], "'unet' is given twice", "",
    ),
    "an input of the wrong type": (SD15, ["prompt=x", "steps=many"], "input 'steps' takes int, found", ""),
    "an input below its limit": (SD15, ["prompt=x", "steps=0"], "input 'steps' must be at least 1", ""),
    "a misspelt sampler": (
        SD15, ["prompt=x", "scheduler=dpmpp_2n"],
        "input 'scheduler' must name a sampler (did you mean 'dpmpp_2", "found the text 'dpmpp_2n'",
    ),
    "a misspelt input": (SD15, ["promt=x"], "has no input 'promt'", "did you mean 'prompt'?"),
    "a word that sets nothing": (SD15, ["prompt"], "'prompt' sets nothing", "write name=value"),
    "no YAML": ("nodes: {a: [", [], "", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_graph_exits_with_2_and_one_message(name, tmp_path, capsys):
    text, words, message, help = WRONG[name]
    file = tmp_path / "wrong.yaml"
    file.write_text(text)
    assert main([str(file), *words]) == 2
    out, err = capsys.readouterr()
    print(err)
    assert out == ""
    assert message in err
    assert help in err
    assert "Traceback" not in err
    assert err.count("wrong.yaml:") + err.count("error:") == 1


def test_a_misspelt_graph_is_told_with_the_nearest_name(capsys):
    assert main(["sd51"]) == 2
    assert "there is no graph 'sd51'" in capsys.readouterr().err


def test_a_misspelt_verb_is_told_with_the_nearest_one(tmp_path, monkeypatch, capsys):
    assert main(["chek", "emoji.yaml", "--cost"]) == 2
    assert capsys.readouterr().err == (
        "error: there is no graph and no verb 'chek'\n  help: did you mean 'run-graph check'?\n"
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / "chek.yaml").write_text("nodes: {}")
    assert main(["chek", "--help"]) == 0  # a graph of that name is one


def test_a_size_of_memory_has_a_unit(capsys):
    assert main(["emoji", "--memory", "6"]) == 2
    said = "error: '6' is no size of memory: write 6GB, 6.5GiB or 800MB\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        ("new", "the graph that it is a copy of (default: sd15)"),
        ("replay", "run-graph replay PICTURE [name=value ...] [--to FILE]"),
        ("bench", "float32, bfloat16, float16 (default: the fastest sound one)"),
    ],
)
def test_help_of_a_verb_has_its_defaults(verb, said, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    assert said in capsys.readouterr().out


def test_help_of_a_graph_lists_its_inputs(capsys):
    assert main(["sd15.yaml", "--help"]) == 0
    out = capsys.readouterr().out
    assert "Stable Diffusion 1.x, text to image." in out
    assert "must be given; one for all pictures" in out
    assert "guidance_scale" in out
    assert "default 7.5" in out


def test_help_without_a_graph(capsys):
    assert main(["--help"]) == 0
    assert "run-graph GRAPH" in capsys.readouterr().out
    assert main(["help"]) == 0
    assert "run-graph GRAPH" in capsys.readouterr().out
    assert main([]) == 2


def test_nodes_are_listed_and_described(capsys):
    assert main(["nodes"]) == 0
    listed = capsys.readouterr().out
    for name in ("load_unet", "unet", "guidance", "scheduler_step", "vae_decode", "save_image"):
        assert f"  {name} " in listed
    assert main(["nodes", "guidance"]) == 0
    described = capsys.readouterr().out
    assert "classifier-free guidance, arXiv:2207.12598" in described
    assert "cond" in described
    assert "must be given" in described
    assert main(["nodes", "guidence"]) == 2
    assert capsys.readouterr().err == (
        "error: there is no node type or kind 'guidence'\n  help: did you mean 'guidance'?\n"
    )


def test_nodes_are_found_by_what_they_give_and_by_a_word(capsys):
    assert main(["nodes"]) == 0
    kinds = capsys.readouterr().out.split("kinds of values, and their axes\n")[1]
    assert re.search(r"\n  image +B 1\|3\|4 H W +pictures in \[0, 1\]: grey, RGB,", kinds)
    said = {}
    for word in ("pooled text", "PooledText", "Schedule", "invisibly"):
        assert main(["nodes", word]) == 0
        said[word] = capsys.readouterr().out
    assert said["PooledText"] == said["pooled text"]
    title, given, taken = said["PooledText"].split("\n\n")
    assert title == "pooled text: a whole text as one vector (B D)"
    giving, taking = (set(re.findall(r"^  (\w+)", it, re.MULTILINE)) for it in (given, taken))
    assert giving >= {"encode_text_and_pool", "encode_weighted_and_pool", "no_text"}
    assert taking >= {"cached_unet", "controlnet", "no_text", "unet"}
    assert not giving & {"unet", "encode_text"}
    assert not taking & {"encode_text_and_pool", "encode_text"}
    assert said["Schedule"].startswith("Schedule\n\ngiven by\n  schedule ")
    assert said["invisibly"].split()[0] == "watermark"
    assert main(["nodes", "image_prompt"]) == 0
    assert capsys.readouterr().out.startswith("image_prompt: Read pictures")


def test_a_picture(tmp_path, capsys):
    output = tmp_path / "new" / "folder" / "emoji.png"
    words = ["emoji", "prompt=a cat on a red background", "steps=2", f"output={output}"]
    assert main([*words, "--dtype", "float32", "--device", "cpu"]) == 0
    with Image.open(output) as picture:
        assert picture.size == (64, 64)
    assert f"saved: {output}" in capsys.readouterr().err
    assert [path.name for path in output.parent.iterdir()] == ["emoji.png"]


def test_a_list_of_prompts_is_one_for_each_picture(tmp_path):
    words = ["emoji", "steps=1", "--dtype", "float32", "--device", "cpu"]
    both = ['prompt=["a cat", "a lion"]', "count=2", f"output={tmp_path / 'both.png'}"]
    assert main([*words, *both]) == 0
    same = ["prompt=a cat", "count=2", f"output={tmp_path / 'same.png'}"]
    assert main([*words, *same]) == 0
    pixels = {path.name: Image.open(path).tobytes() for path in tmp_path.iterdir()}
    assert pixels["both-0.png"] == pixels["same-0.png"]
    assert pixels["both-1.png"] != pixels["same-1.png"]


def test_an_offline_graph_without_its_checkpoint_fails_in_one_line(tmp_path, capsys):
    output = tmp_path / "cat.png"
    assert main(["ddpm", "--offline", f"output={output}"]) == 1
    err = capsys.readouterr().err
    assert "'google/ddpm-cat-256' is not on this machine and the hub cannot be reached" in err
    assert "Traceback" not in err
    assert not output.exists()


def test_a_file_that_is_no_picture_is_refused(tmp_path, capsys):
    assert main(["emoji", "steps=1", f"output={tmp_path / 'emoji.txt'}"]) == 2
    assert "must end in a picture format, .png or .jpg for example" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "--nodes: there is no Python file"),
        ("import nothing_of_this_name\n", "cannot be imported: ModuleNotFoundError"),
        ("from graph import node\n@node\ndef guess(a) -> int:\n    'Guess.'\n", "needs an annotation for 'a'"),
    ],
)  # fmt: skip
def test_own_nodes_that_cannot_be_used(content, message, tmp_path, capsys):
    file = tmp_path / "my_nodes.py"
    if content:
        file.write_text(content)
    assert main(["emoji", "--nodes", str(file)]) == 2
    assert message in capsys.readouterr().err


def test_own_nodes_may_have_any_file_name(tmp_path, capsys):
    file = tmp_path / "nodes.py"
    file.write_text(
        "from graph import node\nfrom nodes.kinds import Latents\n\n\n"
        "@node\ndef quiet(sample: Latents) -> Latents:\n    'Make a sample quieter.'\n    return sample / 2\n"
    )
    assert main(["nodes", "quiet", "--nodes", str(file)]) == 0
    assert "Make a sample quieter." in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ["inspect", "nowhere"], ["convert", "nowhere", "out"], ["schedulers", "eulr"],
        ["emoji", "--device", "gpu0"], ["bench", "emoji", "--device", "gpu0"],
        ["check", "emoji", "--dtype", "float8"], ["nodes", "guidanse"], ["show", "emojy"],
        ["emoji", "--memory", "6"], ["emoji", "--memory", "6", "--grid", "seed=1"], ["chek", "emoji"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_whatever_is_wrong_is_told_in_one_form(words, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")


def test_and_as_json_to_programs_that_ask_for_it(capsys):
    assert main(["check", "emoji", "--json", "--nodes", "none.py"]) == 2
    (found,) = json.loads(capsys.readouterr().out)["findings"]
    assert found == {"message": "--nodes: there is no Python file 'none.py'", "help": None}


@pytest.mark.parametrize("option", [("--device", "gpu0"), ("--dtype", "float8")])
def test_a_machine_that_is_not_there_is_wrong_usage(option, capsys):
    assert main(["emoji", *option]) == 2
    assert option[1] in capsys.readouterr().err


@pytest.mark.slow
def test_ctrl_c_stops_between_two_steps(tmp_path):
    output = tmp_path / "never.png"
    command = [sys.executable, "-u", "-m", "runtime.cli", "emoji", "steps=1000", f"output={output}"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "cpu" in line:  # the run has started, so the handler is in place
                break
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert process.returncode == 130
    assert "interrupted" in said
    assert "Traceback" not in said
    assert not output.exists()
