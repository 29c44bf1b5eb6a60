"""Safetensors into a network that was built without weights."""

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)

# Old names of the attention weights in checkpoints of before 2023, and what they are called now.
OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
SHOWN = 8


def load_weights(
    network: Network, paths: Iterable[Path], device: torch.device, dtype: torch.dtype
) -> Network:
    """Give a network on the meta device its weights: memory-mapped, then converted and moved.

    Raises ValueError where a file is damaged, or with every key that is missing, surplus or of
    another shape; the network is not used then.
    """
    expected = network.state_dict()
    tensors: dict[str, Tensor] = {}
    wrong: list[str] = []
    for path in paths:
        try:
            with safe_open(path, framework="pt") as file:  # type: ignore[no-untyped-call]
                for key in file.keys():  # noqa: SIM118 (it is no mapping)
                    name = _current_name(key, expected)
                    tensor = file.get_tensor(key)
                    if name not in expected:
                        wrong.append(f"surplus {key} {_shape(tensor)}")
                        continue
                    want = expected[name].shape
                    if tensor.shape != want and tensor.squeeze().shape == want:
                        tensor = tensor.squeeze()  # 1 × 1 convolutions became linear layers
                    if tensor.shape != want:
                        wrong.append(
                            f"{key} is {_shape(tensor)}, expected {_shape(expected[name])}"
                        )
                    tensors[name] = tensor.to(device, dtype)
        except SafetensorError as error:
            raise ValueError(f"{path} is not a whole safetensors file: {error}") from error
    wrong += [f"missing {key}" for key in expected if key not in tensors]
    if wrong:
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        places = ", ".join(str(path) for path in paths)
        kind = type(network).__name__
        raise ValueError(f"{places} does not fit {kind}: {'; '.join(wrong[:SHOWN])}{more}")
    network.load_state_dict(tensors, assign=True)
    return network.eval().requires_grad_(False)


def _current_name(key: str, expected: dict[str, Tensor]) -> str:
    if key in expected:
        return key
    parts = [OLD_NAMES.get(part, part) for part in key.split(".")]
    return ".".join(parts)


def _shape(tensor: Tensor) -> str:
    return "×".join(str(side) for side in tensor.shape)
