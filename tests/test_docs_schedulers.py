"""docs/schedulers.md runs, and names what there is."""

import re
from pathlib import Path

import pytest
import torch

from nodes.schedulers import SCHEDULERS, make_table
from nodes.schedulers.families import FAMILIES

PAGE = (Path(__file__).parent.parent / "docs" / "schedulers.md").read_text()


def test_a_sampler_is_added_in_ten_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    # So that both are taken out again after the test.
    monkeypatch.setitem(FAMILIES, "GradientEstimation", FAMILIES["EulerDiscreteScheduler"])
    monkeypatch.setitem(SCHEDULERS, "gradient_estimation", SCHEDULERS["euler"])
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL):
        exec(block, names)
    leaning, euler = (make_table({}, name, 6) for name in ("gradient_estimation", "euler"))
    first = euler.update[0, 0, :2] + euler.update[0, 0, 2] * euler.predict[0]
    torch.testing.assert_close(leaning.update[0, 0, :2], first)
    assert leaning.update[1, 0, 4] != 0  # from the second row on, the earlier estimate counts


def test_the_page_has_every_sampler_and_its_figures() -> None:
    for name, entry in SCHEDULERS.items():
        if name != entry.family and not name.endswith(("_karras", "_exponential", "_beta")):
            assert f"`{name}`" in PAGE
    for image in re.findall(r"\]\((images/[^)]+)\)", PAGE):
        assert (Path(__file__).parent.parent / "docs" / image).is_file()
