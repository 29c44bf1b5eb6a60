"""Stored tensors into a network that was built without weights."""

from collections.abc import Callable, Container, Mapping
from weakref import finalize

import torch
from torch import Tensor, nn

from .component import StoredTensor

# Old names of weights in checkpoints of before 2023, and what they are called now.
OLD_NAMES = {
    "query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0", "W": "weight",
}  # fmt: skip
OLDEST_NAMES = {
    "time_steps": "time_proj", "mid": "mid_block", "downsample_blocks": "down_blocks",
    "upsample_blocks": "up_blocks",
}  # fmt: skip
SHOWN = 8


def load_weights(
    network: nn.Module,
    tensors: Mapping[str, StoredTensor],
    device: torch.device,
    later: Container[str] = (),
) -> dict[str, Callable[[], Tensor]]:
    """Give a network on the meta device its weights, in the precision that it has there.

    Each is converted and moved as it is read. Those named in `later` stay empty; what is given is
    how to read each of them, as its file has it.
    Raises ValueError with every tensor that is missing, surplus, of another shape or of a kind
    that is no weight; nothing is read then.
    """
    places = _places(network)
    expected = {name: getattr(module, key) for name, (module, key) in places.items()}
    stored: dict[str, StoredTensor] = {}
    wrong: list[str] = []
    for key, tensor in tensors.items():
        name = current_name(key, expected)
        if name is None:
            wrong.append(f"surplus {key} {_shape(tensor.shape)}")
        elif name:
            stored[name] = tensor
            wrong += _misfit(key, tensor, expected[name])
    wrong += [f"missing {key}" for key in expected if key not in stored]
    if wrong:
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        files = ", ".join(sorted({str(tensor.file) for tensor in tensors.values()}))
        kind = type(network).__name__
        raise ValueError(f"{files} does not fit {kind}: {'; '.join(wrong[:SHOWN])}{more}")
    network.eval()
    readers: dict[str, Callable[[], Tensor]] = {}
    for name, tensor in stored.items():
        empty = expected[name]
        read = _reader(tensor, empty.shape)
        if name in later:
            readers[name] = read
        else:
            module, key = places[name]
            weight = read().to(device, empty.dtype)
            setattr(module, key, nn.Parameter(weight, requires_grad=False))
    return readers


def _places(network: nn.Module) -> dict[str, tuple[nn.Module, str]]:
    """Say in which module each weight is, and as what, by its name in checkpoints."""
    return {
        f"{path}.{key}" if path else key: (module, key)
        for path, module in network.named_modules()
        for key, _ in module.named_parameters(recurse=False)
    }


def _reader(tensor: StoredTensor, shape: torch.Size) -> Callable[[], Tensor]:
    def read() -> Tensor:
        mapped = tensor.read().reshape(shape)
        # Once it is converted or packed, say, nothing lies there any more.
        finalize(mapped.untyped_storage(), tensor.release).atexit = False
        return mapped

    return read


def current_name(key: str, expected: Container[str]) -> str | None:
    """Say what a tensor of an old file is called now: "" if it is there twice, None if unknown."""
    if key in expected:
        return key
    first, _, rest = key.partition(".")
    parts = f"{OLDEST_NAMES.get(first, first)}.{rest}".split(".")
    name = ".".join(OLD_NAMES.get(part, part) for part in parts)
    if name in expected:
        return name
    twin = key.replace(".op.", ".conv.").replace("Conv2d_0", "conv")
    return "" if twin != key and twin in expected else None


def _misfit(key: str, tensor: StoredTensor, expected: Tensor) -> list[str]:
    if not tensor.dtype.is_floating_point:
        return [f"{key} holds {str(tensor.dtype).removeprefix('torch.')}, expected weights"]
    # 1 × 1 convolutions became linear layers.
    sides = tensor.shape
    same = sides == tuple(expected.shape) or (
        sides[2:] in ((1,), (1, 1)) and sides[:2] == tuple(expected.shape)
    )
    return [] if same else [f"{key} is {_shape(sides)}, expected {_shape(tuple(expected.shape))}"]


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(str(side) for side in shape)
