"""Several calls as one: what is handed on as it is, what is repeated, whose each row then is."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from runtime.batch import Apart, call_together, stack

CALLS = ("a", "b")


class Two(NamedTuple):
    sum: Tensor
    sample: Tensor


def texts(pictures=1):
    return stack([torch.full((pictures, 3), 10.0 * (number + 1)) for number in range(2)])


def add(sample, text, time):
    return sample + text.mean(dim=1, keepdim=True) + time


def test_one_picture_is_handed_on_as_it_is_and_serves_all_calls():
    given = {"sample": torch.ones(1, 2), "time": torch.tensor(0.5), "text": texts()}
    seen = {}

    def network(**arguments):
        seen.update(arguments)
        return Two(add(**arguments), arguments["sample"])

    values = call_together(network, CALLS, {"text"}, **given)
    assert all(seen[name] is value for name, value in given.items())
    assert [value.sum.tolist() for value in values.values()] == [[[11.5] * 2], [[21.5] * 2]]
    assert [value.sample.tolist() for value in values.values()] == [[[1, 1]], [[1, 1]]]


@pytest.mark.parametrize("pictures", [1, 3])
def test_pictures_of_each_call_stand_together_whether_or_not_all_have_one_text(pictures):
    sample, time = torch.arange(3.0)[:, None], torch.tensor(0.5)
    given = {"sample": sample, "text": texts(pictures), "time": time}
    values = call_together(add, CALLS, {"text"}, **given)
    assert torch.equal(values["a"], sample + 10.5)
    assert torch.equal(values["b"], sample + 20.5)


def test_one_sample_has_as_many_pictures_as_it_has_texts():
    given = {"sample": torch.ones(1, 1), "text": texts(3), "time": torch.tensor(0.5)}
    assert [len(value) for value in call_together(add, CALLS, {"text"}, **given).values()] == [3, 3]


@pytest.mark.parametrize("pictures", [1, 3])
def test_what_is_asked_for_alone_is_told_its_own_text(pictures):
    given = {"sample": torch.zeros(3, 1), "text": texts(pictures), "time": torch.tensor(0.5)}
    values = call_together(add, CALLS, {"text"}, when=[False, True], **given)
    assert list(values) == ["b"]
    assert torch.equal(values["b"], torch.full((3, 1), 20.5))


@pytest.mark.parametrize(
    "values",
    [
        [torch.zeros(1, 3), torch.zeros(1, 4)],
        [torch.zeros(1, 3), None],
        [torch.tensor(1.0), torch.tensor(2.0)],
        ["a", "b"],
    ],
    ids=["other shapes", "one is not there", "no axis", "no tensor"],
)
def test_what_does_not_go_together_stays_apart(values):
    assert isinstance(stack(values), Apart)
    called = call_together(
        lambda it, shared: (it, shared), CALLS, {"it"}, it=stack(values), shared=1
    )
    assert [value[0] is own for value, own in zip(called.values(), values, strict=True)] == [
        True
    ] * 2
