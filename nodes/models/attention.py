"""Attention as the networks use it: over pixels, and from pixels to text."""

import torch.nn.functional as F
from torch import Tensor, nn

from .attend import attend
from .layers import group_norm


class Attention(nn.Module):
    """Multi-head attention from (B, N, width) to a context (B, M, context_width)."""

    def __init__(self, width: int, context_width: int, heads: int, *, bias: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.mix = attend
        self.to_q = nn.Linear(width, width, bias)
        self.to_k = nn.Linear(context_width, width, bias)
        self.to_v = nn.Linear(context_width, width, bias)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        context = x if context is None else context
        parts = (self.to_q(x), self.to_k(context), self.to_v(context))
        return self.joined(self.mix(*map(self.by_head, parts)))

    def by_head(self, x: Tensor) -> Tensor:
        """Split (B, N, width) into (B, heads, N, width / heads)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def joined(self, mixed: Tensor) -> Tensor:
        """Join what the heads give to the output (B, N, width)."""
        return self.to_out[0](mixed.transpose(1, 2).flatten(2))


class SpatialAttention(Attention):
    """Self-attention of a feature map, added to it; `divisor` keeps the sum's variance."""

    def __init__(
        self, width: int, heads: int, groups: int | None, eps: float, divisor: float = 1.0
    ) -> None:
        super().__init__(width, width, heads, bias=True)
        self.divisor = divisor
        self.group_norm = group_norm(groups, width, eps)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:  # noqa: ARG002
        pixels = self.group_norm(x).flatten(2).transpose(1, 2)  # B HW C
        x = x + super().forward(pixels).transpose(1, 2).reshape(x.shape)
        return x if self.divisor == 1 else x / self.divisor


class GEGLU(nn.Module):
    """A linear layer whose second half gates its first (arXiv:2002.05202)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.proj = nn.Linear(inputs, 2 * outputs)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        # On a CPU the copy is cheaper than PyTorch's GELU of numbers that lie apart.
        return value * F.gelu(gate.contiguous() if gate.is_cpu else gate)


class FeedForward(nn.Module):
    """The transformer's network of each position, four times as wide inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        # The second place is a dropout in published checkpoints: it has no weights but counts.
        self.net = nn.Sequential(
            GEGLU(width, 4 * width), nn.Identity(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class BasicTransformerBlock(nn.Module):
    """Pixels look at each other, then at the text, then each thinks for itself.

    With `only_text` the first look is at the text as well.
    """

    def __init__(self, width: int, context_width: int, heads: int, *, only_text: bool) -> None:
        super().__init__()
        self.only_text = only_text
        self.norm1 = nn.LayerNorm(width)
        self.attn1 = Attention(width, context_width if only_text else width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.attn2 = Attention(width, context_width, heads)
        self.norm3 = nn.LayerNorm(width)
        self.ff = FeedForward(width)

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        x = x + self.attn1(self.norm1(x), text if self.only_text else None)
        x = x + self.attn2(self.norm2(x), text)
        return x + self.ff(self.norm3(x))


class Transformer2DModel(nn.Module):
    """Transformer blocks over the pixels of a feature map, added to it."""

    def __init__(
        self,
        width: int,
        context_width: int,
        heads: int,
        groups: int,
        *,
        depth: int,
        linear: bool,
        only_text: bool,
    ) -> None:
        super().__init__()
        self.linear = linear
        self.norm = nn.GroupNorm(groups, width, eps=1e-6)
        self.proj_in = nn.Linear(width, width) if linear else nn.Conv2d(width, width, 1)
        self.transformer_blocks = nn.ModuleList(
            BasicTransformerBlock(width, context_width, heads, only_text=only_text)
            for _ in range(depth)
        )
        self.proj_out = nn.Linear(width, width) if linear else nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        pixels = self.norm(x)
        pixels = pixels if self.linear else self.proj_in(pixels)
        pixels = pixels.flatten(2).transpose(1, 2)  # B HW C
        pixels = self.proj_in(pixels) if self.linear else pixels
        for block in self.transformer_blocks:
            pixels = block(pixels, text)
        pixels = self.proj_out(pixels) if self.linear else pixels
        pixels = pixels.transpose(1, 2).reshape(-1, *x.shape[1:])  # B C H W
        return x + (pixels if self.linear else self.proj_out(pixels))
