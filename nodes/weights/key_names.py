"""The names of tensors in original single files, beside those of the networks here.

A network's names are written down once, as a list of `Name` (`key_names_unet`, `key_names_vae`,
`key_names_text`), and read in both directions; so what is translated there and back is the same.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .component import StoredTensor


@dataclass(frozen=True)
class Form:
    """How a tensor of an original file is laid out, beside ours; nothing is read until asked."""

    to_ours: Callable[[StoredTensor, int], list[StoredTensor]]  # and how many it becomes
    to_original: Callable[[list[StoredTensor]], StoredTensor]


@dataclass(frozen=True)
class Name:
    """What one tensor is called in an original file, and here, where a fused one is several."""

    original: str
    ours: tuple[str, ...]
    form: Form


def _view(
    tensor: StoredTensor, shape: tuple[int, ...], change: Callable[[Tensor], Tensor]
) -> StoredTensor:
    return replace(tensor, shape=shape, read=lambda: change(tensor.read()))


def _squeezed(tensor: StoredTensor, _: int) -> list[StoredTensor]:
    shape = tensor.shape[:2]
    return [_view(tensor, shape, lambda read: read.reshape(shape))]


def _unsqueezed(tensors: list[StoredTensor]) -> StoredTensor:
    shape = (*tensors[0].shape[:2], 1, 1)
    return _view(tensors[0], shape, lambda read: read.reshape(shape))


def _transposed(tensor: StoredTensor) -> StoredTensor:
    return _view(tensor, tensor.shape[::-1], lambda read: read.T)


def _split(tensor: StoredTensor, count: int) -> list[StoredTensor]:
    shape = (tensor.shape[0] // count, *tensor.shape[1:])
    return [_part(tensor, shape, index, count) for index in range(count)]


def _part(tensor: StoredTensor, shape: tuple[int, ...], index: int, count: int) -> StoredTensor:
    return _view(tensor, shape, lambda read: read.chunk(count)[index])


def _stacked(tensors: list[StoredTensor]) -> StoredTensor:
    first = tensors[0]
    shape = (sum(tensor.shape[0] for tensor in tensors), *first.shape[1:])

    def read() -> Tensor:
        return torch.cat([tensor.read() for tensor in tensors])

    def release() -> None:
        for tensor in tensors:
            tensor.release()

    return replace(first, shape=shape, read=read, release=release, span=range(0))


SAME = Form(lambda tensor, _: [tensor], lambda tensors: tensors[0])
CONVOLUTION = Form(_squeezed, _unsqueezed)  # a 1 × 1 convolution there, a linear layer here
TRANSPOSED = Form(lambda tensor, _: [_transposed(tensor)], lambda tensors: _transposed(tensors[0]))
STACKED = Form(_split, _stacked)  # the rows of several, one after the other


def weight(ours: str, original: str, form: Form = SAME) -> Iterator[Name]:
    """Name the one tensor of a layer without bias."""
    yield Name(f"{original}.weight", (f"{ours}.weight",), form)


def layer(ours: str, original: str, form: Form = SAME) -> Iterator[Name]:
    """Name a layer's weight, of this form, and its bias."""
    yield from weight(ours, original, form)
    yield Name(f"{original}.bias", (f"{ours}.bias",), SAME)


def unchanged(names: Iterable[Name]) -> list[Name]:
    """Give the list of a file that has our names already."""
    return [Name(ours, (ours,), SAME) for name in names for ours in name.ours]


def to_ours(tensors: Mapping[str, StoredTensor], names: Iterable[Name]) -> dict[str, StoredTensor]:
    """Give the tensors of an original file under our names; what has no name is left out."""
    return {
        ours: part
        for name in names
        if name.original in tensors
        for ours, part in zip(
            name.ours, name.form.to_ours(tensors[name.original], len(name.ours)), strict=True
        )
    }


def to_original(
    tensors: Mapping[str, StoredTensor], names: Iterable[Name]
) -> dict[str, StoredTensor]:
    """Give a network's tensors under the names of an original file.

    Raises ValueError for tensors that are missing or that an original file has no name for.
    """
    names = list(names)
    wanted = {ours for name in names for ours in name.ours}
    wrong = [f"missing {key}" for key in sorted(wanted - tensors.keys())]
    wrong += [f"surplus {key}" for key in sorted(tensors.keys() - wanted)]
    if wrong:
        raise ValueError(listed(wrong))
    return {
        name.original: name.form.to_original([tensors[ours] for ours in name.ours])
        for name in names
    }


def listed(findings: list[str], shown: int = 8) -> str:
    """Join findings, the first few of many."""
    more = f"; and {len(findings) - shown} more" if len(findings) > shown else ""
    return "; ".join(findings[:shown]) + more
