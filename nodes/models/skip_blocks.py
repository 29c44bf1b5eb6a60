"""The levels of NCSN++: the picture comes in and goes out at every size (arXiv:2011.13456)."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from .layers import ResnetBlock2D, group_norm, smooth_double
from .unet_blocks import DownBlock, MakeAttention, MakeResnet, UpBlock

PICTURE = 3  # the channels that published networks of this kind read and draw


class SkipDownBlock(DownBlock):
    """A level of the way down; where it halves, the picture of that size is added."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        layers: int,
        resnet: MakeResnet,
        attention: MakeAttention | None,
        downsample: ResnetBlock2D | None,
    ) -> None:
        super().__init__(inputs, outputs, layers, resnet, attention, None)
        self.resnet_down = downsample
        self.skip_conv = nn.Conv2d(PICTURE, outputs, 1) if downsample else None

    def forward(
        self, x: Tensor, time: Tensor, text: Tensor | None = None, feature: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Give the smaller map and the skips; `feature` is the picture, as small as the map."""
        x, skips = super().forward(x, time, text)
        if self.resnet_down is not None and self.skip_conv is not None:
            x = self.resnet_down(x, time) + self.skip_conv(feature)
            skips.append(x)
        return x, skips


class SkipUpBlock(UpBlock):
    """A level of the way up, with attention once; it also draws a picture of its size."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        last_skip: int,
        layers: int,
        resnet: MakeResnet,
        attention: MakeAttention | None,
        upsample: Callable[[], ResnetBlock2D] | None,
        eps: float,
    ) -> None:
        def in_groups(inputs: int, outputs: int) -> ResnetBlock2D:
            block = resnet(inputs, outputs)
            if attention:  # there the networks that exist have 32, however few the channels
                block.norm1 = group_norm(32, inputs, eps)
            return block

        super().__init__(inputs, outputs, last_skip, layers, in_groups, None, None)
        self.attentions = nn.ModuleList([attention(0)]) if attention else None
        self.resnet_up = upsample() if upsample else None
        self.skip_norm = group_norm(None, outputs, eps) if upsample else None
        self.skip_conv = nn.Conv2d(outputs, PICTURE, 3, padding=1) if upsample else None

    def forward(  # type: ignore[override]
        self, x: Tensor, skips: list[Tensor], time: Tensor, picture: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Give the larger map, and the picture drawn so far, of this level's size."""
        for resnet in self.resnets:
            x = resnet(self.join(x, skips.pop()), time)
        x = self.attentions[0](x) if self.attentions else x
        if picture is not None:
            height, width = x.shape[-2:]
            picture = smooth_double(picture, (height, width))
        if self.resnet_up is not None and self.skip_norm is not None and self.skip_conv is not None:
            drawn = self.skip_conv(F.silu(self.skip_norm(x)))
            picture = drawn if picture is None else picture + drawn
            height, width = skips[-1].shape[-2:]
            x = self.resnet_up(x, time, (height, width))
        return x, picture
