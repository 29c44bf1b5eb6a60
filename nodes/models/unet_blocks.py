"""The levels of a UNet: the same three blocks serve with and without attention and text."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .layers import ResnetBlock2D, for_all

MakeResnet = Callable[[int, int], ResnetBlock2D]
MakeAttention = Callable[[int], nn.Module]
"""Makes the attention that follows the residual block of this number."""


class DownBlock(nn.Module):
    """Residual blocks, each followed by attention if the level has it, then half the size."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        layers: int,
        resnet: MakeResnet,
        attention: MakeAttention | None,
        downsample: nn.Module | None,
    ) -> None:
        super().__init__()
        widths = [inputs, *[outputs] * (layers - 1)]
        self.resnets = nn.ModuleList(resnet(width, outputs) for width in widths)
        self.attentions = nn.ModuleList(map(attention, range(layers))) if attention else None
        self.downsamplers = nn.ModuleList([downsample]) if downsample else None

    def forward(
        self, x: Tensor, time: Tensor, text: Tensor | None, feature: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Give the smaller map and the skips; `feature` is an adapter's, added once."""
        skips: list[Tensor] = []
        for layer, resnet in enumerate(self.resnets):
            x = resnet(x, time)
            x = self.attentions[layer](x, text) if self.attentions else x
            skips.append(x)
        if self.attentions and feature is not None:
            x = skips[-1] = x + feature
        if self.downsamplers:
            x = self.downsamplers[0](x, time)
            skips.append(x)
        if not self.attentions and feature is not None:  # as adapters were trained
            x = skips[-1] = x + feature
        return x, skips


class MidBlock(nn.Module):
    """Attention between two residual blocks, at the smallest size; without it, `resnets` alone."""

    def __init__(
        self,
        channels: int,
        resnet: MakeResnet,
        attention: MakeAttention | None,
        resnets: int = 2,
    ) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(resnet(channels, channels) for _ in range(resnets))
        self.attentions = nn.ModuleList([attention(0)]) if attention else None

    def forward(self, x: Tensor, time: Tensor | None = None, text: Tensor | None = None) -> Tensor:
        x = self.resnets[0](x, time)
        x = self.attentions[0](x, text) if self.attentions else x
        for resnet in self.resnets[1:]:
            x = resnet(x, time)
        return x


def join(x: Tensor, skip: Tensor) -> Tensor:
    """Put the features of the way down behind those of the way up."""
    return torch.cat(for_all(x, skip), dim=1)


class UpBlock(nn.Module):
    """The way back: each residual block also reads a skip of the way down, last one first."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        last_skip: int,
        layers: int,
        resnet: MakeResnet,
        attention: MakeAttention | None,
        upsample: nn.Module | None,
    ) -> None:
        super().__init__()
        self.join = join
        widths = [inputs, *[outputs] * (layers - 1)]
        skips = [*[outputs] * (layers - 1), last_skip]
        self.resnets = nn.ModuleList(
            resnet(width + skip, outputs) for width, skip in zip(widths, skips, strict=True)
        )
        self.attentions = nn.ModuleList(map(attention, range(layers))) if attention else None
        self.upsamplers = nn.ModuleList([upsample]) if upsample else None

    def forward(self, x: Tensor, skips: list[Tensor], time: Tensor, text: Tensor | None) -> Tensor:
        for layer, resnet in enumerate(self.resnets):
            x = resnet(self.join(x, skips.pop()), time)
            x = self.attentions[layer](x, text) if self.attentions else x
        if self.upsamplers:
            height, width = skips[-1].shape[-2:]
            x = self.upsamplers[0](x, time, (height, width))
        return x
