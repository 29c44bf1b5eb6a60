"""`run-graph schedulers`: the list, the rows of one, and what is refused."""

import json
from pathlib import Path

import pytest

from nodes.schedulers import SCHEDULERS
from runtime.cli import main


def test_the_list_has_one_line_for_every_sampler(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schedulers"]) == 0
    out = capsys.readouterr().out
    for name in ("unipc", "euler_ancestral", "dpmpp_2m", "ipndm", "flow_heun"):
        assert sum(line.startswith(f"  {name} ") for line in out.splitlines()) == 1
    assert "Also euler_a." in out
    for name in SCHEDULERS:
        base = (
            name.rsplit("_", 1)[0] if name.endswith(("_karras", "_exponential", "_beta")) else name
        )
        assert base in out or name == SCHEDULERS[name].family


def test_the_rows_of_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = {"_class_name": "PNDMScheduler", "beta_start": 0.00085, "beta_end": 0.012}
    (tmp_path / "scheduler_config.json").write_text(json.dumps(config))
    words = ["beta_schedule=scaled_linear", "steps=5", f"model={tmp_path}"]
    assert main(["schedulers", "dpmpp_2m_karras", *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "DPMSolverMultistepScheduler, 5 calls of the network, 0 of them draw noise" in lines[0]
    assert [line.split()[1] for line in lines[4:]] == [
        "999.000", "786.000", "427.000", "59.000", "0.000",
    ]  # fmt: skip
    assert "14.614" in lines[4]
    assert main(["schedulers", "euler_a", "steps=3"]) == 0
    assert capsys.readouterr().out.splitlines()[0].endswith("0 memory slots")


def test_numbers_are_written_as_in_graph_files(capsys: pytest.CaptureFixture[str]) -> None:
    rows = []
    for start in ("1e-4", "0.0001"):
        words = [f"beta_start={start}", "beta_end=2.E-2", "lambda_min_clipped=-.inf"]
        assert main(["schedulers", "dpmpp_2m", "steps=3", *words]) == 0
        rows.append(capsys.readouterr().out)
    assert rows[0] == rows[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["eulr"], "scheduler 'eulr' is not known or not implemented; did you mean 'euler'?"),
        (["euler", "steps=0"], "steps must be between 1 and 1000 (num_train_timesteps), not 0"),
        (["euler", "steps=2000"], "steps must be between 1 and 1000"),
        (["euler", "steps"], "'steps' sets nothing: write name=value"),
        (["euler", "step=3"], "config field 'step' is not known"),
        (["euler", "steps=few"], "steps must be a whole number, not 'few'"),
        (["euler", "beta_end=.nan"], "every beta must lie in [0, 1)"),
        (["euler", "trained_betas=[1"], "trained_betas:1:3: this is not YAML"),
        (["euler", "model=no/such"], "'no/such'"),
        (["auto"], "the config's _class_name 'None' is not known"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["schedulers", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert "Traceback" not in err
