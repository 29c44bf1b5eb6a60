"""The UNet that both families share (arXiv:1505.04597, arXiv:2006.11239)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from .layers import ResnetBlock2D, TimestepEmbedding, sinusoid
from .unet_blocks import DownBlock, MidBlock, UpBlock


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """The fields of a published `config.json` that shape every UNet."""

    sample_size: int | None
    in_channels: int
    out_channels: int
    block_out_channels: tuple[int, ...]
    down_block_types: tuple[str, ...]
    up_block_types: tuple[str, ...]
    layers_per_block: int = 2
    downsample_padding: int = 1
    flip_sin_to_cos: bool = True
    freq_shift: int = 0
    norm_num_groups: int = 32
    norm_eps: float = 1e-5


class UNet(nn.Module):
    """Down, across and up again, each level told the time and, where it has attention, the text.

    `attention` makes the attention of a level, for the levels whose block type starts with
    `prefix`, and for the middle if `attention_in_the_middle`.
    """

    def __init__(
        self,
        config: UNetConfig,
        prefix: str,
        attention: Callable[[int], nn.Module],
        *,
        attention_in_the_middle: bool = True,
    ) -> None:
        super().__init__()
        self.config = config
        widths, layers = config.block_out_channels, config.layers_per_block
        last = len(widths) - 1
        time_width = 4 * widths[0]

        def resnet(inputs: int, outputs: int) -> ResnetBlock2D:
            groups, eps = config.norm_num_groups, config.norm_eps
            return ResnetBlock2D(inputs, outputs, time_width, groups, eps)

        def attentions(block_type: str, plain: str, level: int) -> Callable[[], nn.Module] | None:
            if block_type not in (plain, prefix + plain):
                allowed = f"'{plain}' and '{prefix}{plain}'"
                raise ValueError(f"block type '{block_type}' is not implemented, only {allowed}")
            return None if block_type == plain else lambda: attention(level)

        self.conv_in = nn.Conv2d(config.in_channels, widths[0], 3, padding=1)
        self.time_embedding = TimestepEmbedding(widths[0], time_width)
        self.down_blocks = nn.ModuleList(
            DownBlock(
                widths[max(level - 1, 0)],
                widths[level],
                layers,
                resnet,
                attentions(block_type, "DownBlock2D", level),
                config.downsample_padding if level < last else None,
            )
            for level, block_type in enumerate(config.down_block_types)
        )
        self.mid_block = MidBlock(
            widths[last], resnet, (lambda: attention(last)) if attention_in_the_middle else None
        )
        self.up_blocks = nn.ModuleList(
            UpBlock(
                widths[min(level + 1, last)],
                widths[level],
                widths[max(level - 1, 0)],
                layers + 1,
                resnet,
                attentions(block_type, "UpBlock2D", level),
                upsample=level > 0,
            )
            for level, block_type in zip(
                reversed(range(len(widths))), config.up_block_types, strict=True
            )
        )
        self.conv_norm_out = nn.GroupNorm(config.norm_num_groups, widths[0], config.norm_eps)
        self.conv_out = nn.Conv2d(widths[0], config.out_channels, 3, padding=1)

    def forward(self, sample: Tensor, timestep: Tensor, text: Tensor | None = None) -> Tensor:
        """Predict (B, out, H, W) from a sample (B, in, H, W), a timestep () or (B,) and a text."""
        wave = sinusoid(
            timestep.reshape(-1),
            self.config.block_out_channels[0],
            cosine_first=self.config.flip_sin_to_cos,
            shift=self.config.freq_shift,
        )
        time = self.time_embedding(wave.to(sample.dtype))  # 1 or B, time_width
        x = self.conv_in(sample)
        skips = [x]
        for block in self.down_blocks:
            x, more = block(x, time, text)
            skips += more
        x = self.mid_block(x, time, text)
        for block in self.up_blocks:
            x = block(x, skips, time, text)
        return self.conv_out(F.silu(self.conv_norm_out(x)))
