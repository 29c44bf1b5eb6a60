"""Networks that are changed where they stand: made worse on purpose, or rebalanced."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from .attention import Attention, BasicTransformerBlock, SpatialAttention
from .unet import UNet
from .unet_blocks import UpBlock, join
from .variant import with_layers

Network = TypeVar("Network", bound=UNet)
Module = TypeVar("Module", bound=nn.Module)


def with_own_pixels(network: Network, places: Sequence[str]) -> Network:
    """Give a network whose self-attention at these places lets every pixel see itself alone."""
    blocks = _within(network, places, BasicTransformerBlock)
    found: dict[str, Attention] = {
        f"{name}.attn1": block.attn1 for name, block in blocks.items() if not block.only_text
    }
    found |= _within(network, places, SpatialAttention)
    if not found:
        raise ValueError(f"no attention of pixels to pixels stands at {', '.join(places)}")
    return with_layers(network, {name: _changed(it, mix=_own_pixel) for name, it in found.items()})


def without_blocks(network: Network, places: Sequence[str]) -> Network:
    """Give a network without its transformer blocks at these places."""
    blocks = _within(network, places, BasicTransformerBlock)
    if not blocks:
        raise ValueError(f"no transformer block stands at {', '.join(places)}")
    return with_layers(network, dict.fromkeys(blocks, Skipped()))


class Skipped(nn.Module):
    """What stands in the place of a transformer block that is left out."""

    def forward(self, x: Tensor, text: Tensor) -> Tensor:  # noqa: ARG002
        return x


def with_balance(network: Network, backbone: Sequence[float], skip: Sequence[float]) -> Network:
    """Give a network whose first levels of the way up weigh features and skips anew (FreeU)."""
    blocks = dict(network.up_blocks.named_children())
    changed: dict[str, nn.Module] = {}
    for level, scales in enumerate(zip(backbone, skip, strict=True)):
        block = blocks.get(str(level))
        if not isinstance(block, UpBlock):
            raise ValueError(f"up_blocks.{level} of this network joins no skips by concatenation")
        changed[f"up_blocks.{level}"] = _changed(block, join=Balance(*scales))
    return with_layers(network, changed)


@dataclass(frozen=True)
class Balance:
    """Strengthens half the features of the way up, and weakens what is coarse in a skip."""

    backbone: float
    skip: float

    def __call__(self, x: Tensor, skip: Tensor) -> Tensor:
        half = x.shape[1] // 2
        strong = torch.cat((self.backbone * x[:, :half], x[:, half:]), dim=1)
        return join(strong, _with_coarse(skip, self.skip))


def _with_coarse(x: Tensor, scale: float) -> Tensor:
    """Scale the lowest frequencies of a feature map: those of zero and of minus one period."""
    waves = torch.fft.fft2(x.float())
    rows, columns = (torch.tensor([0, -1], device=x.device) % side for side in x.shape[-2:])
    waves[..., rows[:, None], columns] *= scale
    return torch.fft.ifft2(waves).real.to(x.dtype)


def _own_pixel(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:  # noqa: ARG001
    return values


def _within(network: nn.Module, places: Sequence[str], kind: type[Module]) -> dict[str, Module]:
    """Find the modules of a kind at these places or in them; ValueError for an unknown one."""
    modules = dict(network.named_modules())
    for place in places:
        if place not in modules:
            near = get_close_matches(place, modules, 1)
            hint = f", did you mean {near[0]}?" if near else ""
            raise ValueError(f"`at` names {place}, which this network does not have{hint}")
    return {
        name: module
        for name, module in modules.items()
        if isinstance(module, kind) and any(f"{name}.".startswith(f"{it}.") for it in places)
    }


def _changed(module: Module, **attributes: Any) -> Module:
    """Give a module that differs in these attributes and shares its layers."""
    other = copy(module)
    vars(other).update(attributes)
    return other
