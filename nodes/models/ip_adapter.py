"""IP-Adapter: attention to a picture beside the attention to the text (arXiv:2308.06721)."""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attend import attend
from .attention import Attention, BasicTransformerBlock
from .unet_2d_condition import UNet2DConditionModel
from .variant import with_layers

HEAD = 64  # the width of a head of the resampler, which no file says


class ImageProjection(nn.Module):
    """A picture as one vector (B, D) to tokens (B, N, width) that stand beside those of a text."""

    def __init__(self, inputs: int, width: int, tokens: int) -> None:
        super().__init__()
        self.inputs, self.width, self.tokens = inputs, width, tokens
        self.proj = nn.Linear(inputs, tokens * width)
        self.norm = nn.LayerNorm(width)

    def forward(self, picture: Tensor) -> Tensor:
        return self.norm(self.proj(picture).unflatten(-1, (self.tokens, -1)))


class PerceiverAttention(nn.Module):
    """Attention from learned tokens to what is seen and to each other (arXiv:2204.14198)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.to_q = nn.Linear(width, HEAD * heads, bias=False)
        self.to_kv = nn.Linear(width, 2 * HEAD * heads, bias=False)
        self.to_out = nn.Linear(HEAD * heads, width, bias=False)

    def forward(self, tokens: Tensor, seen: Tensor) -> Tensor:
        tokens = self.norm2(tokens)
        both = torch.cat((self.norm1(seen), tokens), dim=1)
        queries, keys, values = (
            part.unflatten(-1, (self.heads, HEAD)).transpose(1, 2)  # B heads N head
            for part in (self.to_q(tokens), *self.to_kv(both).chunk(2, dim=-1))
        )
        return self.to_out(attend(queries, keys, values).transpose(1, 2).flatten(2))


class Resampler(nn.Module):
    """What is seen of a picture, patch by patch (B, M, D), to a few tokens (B, N, width)."""

    def __init__(
        self, inputs: int, width: int, tokens: int, inner: int, heads: int, depth: int, wide: int
    ) -> None:
        super().__init__()
        self.inputs, self.width, self.tokens = inputs, width, tokens
        self.latents = nn.Parameter(torch.empty(1, tokens, inner))
        self.proj_in = nn.Linear(inputs, inner)
        self.layers = nn.ModuleList(
            nn.ModuleList(
                [
                    PerceiverAttention(inner, heads),
                    nn.Sequential(
                        nn.LayerNorm(inner),
                        nn.Linear(inner, wide, bias=False),
                        nn.GELU(),
                        nn.Linear(wide, inner, bias=False),
                    ),
                ]
            )
            for _ in range(depth)
        )
        self.proj_out = nn.Linear(inner, width)
        self.norm_out = nn.LayerNorm(width)

    def forward(self, seen: Tensor) -> Tensor:
        seen = self.proj_in(seen)
        tokens = self.latents.expand(len(seen), -1, -1)
        for attention, feed_forward in self.layers:  # type: ignore[misc]
            tokens = tokens + attention(tokens, seen)
            tokens = tokens + feed_forward(tokens)
        return self.norm_out(self.proj_out(tokens))


def image_projection(shapes: Mapping[str, Sequence[int]]) -> ImageProjection | Resampler:
    """Make the projection that a file has, by the names and shapes of its tensors.

    Raises ValueError for one that is not implemented.
    """
    if "proj.weight" in shapes:
        (rows, inputs), (width,) = shapes["proj.weight"], shapes["norm.weight"]
        return ImageProjection(inputs, width, rows // width)
    if "latents" in shapes:
        (_, tokens, inner), (width, _) = shapes["latents"], shapes["proj_out.weight"]
        heads = shapes["layers.0.0.to_q.weight"][0] // HEAD
        wide = shapes["layers.0.1.1.weight"][0]
        depth = 1 + max(int(name.split(".")[1]) for name in shapes if name.startswith("layers."))
        return Resampler(shapes["proj_in.weight"][1], width, tokens, inner, heads, depth, wide)
    found = ", ".join(sorted(shapes)[:3]) or "none"
    raise ValueError(
        f"its projection is not implemented, only those of IP-Adapter and IP-Adapter Plus: {found}"
    )


class PictureLayers(nn.Module):
    """What one attention learned for the `tokens` of a picture, and how much it counts."""

    def __init__(self, keys: Tensor, values: Tensor, tokens: int, scale: float) -> None:
        super().__init__()
        self.tokens, self.scale = tokens, scale
        self.keys = nn.Parameter(keys, requires_grad=False)
        self.values = nn.Parameter(values, requires_grad=False)


class ImageAttention(Attention):
    """Attention to a text and, beside it, to pictures, whose tokens are the last of the context.

    Its layers are those of another attention, which may see pictures already.
    """

    def __init__(self, attention: Attention, picture: PictureLayers) -> None:
        nn.Module.__init__(self)
        self.heads, self.mix = attention.heads, attention.mix
        self.to_q, self.to_k, self.to_v = attention.to_q, attention.to_k, attention.to_v
        self.to_out = attention.to_out
        earlier = attention.pictures if isinstance(attention, ImageAttention) else ()
        self.pictures = nn.ModuleList([*earlier, picture])

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        assert context is not None  # a text, and the pictures behind it
        layers = cast("list[PictureLayers]", list(self.pictures))
        counts = [layer.tokens for layer in layers]
        text, *pictures = context.split([context.shape[1] - sum(counts), *counts], dim=1)
        queries = self.by_head(self.to_q(x))
        mixed = self.mix(queries, self.by_head(self.to_k(text)), self.by_head(self.to_v(text)))
        for layer, picture in zip(layers, pictures, strict=True):
            keys, values = F.linear(picture, layer.keys), F.linear(picture, layer.values)
            seen = attend(queries, self.by_head(keys), self.by_head(values))
            mixed = mixed + layer.scale * seen
        return self.joined(mixed)


def text_attentions(network: UNet2DConditionModel) -> dict[str, Attention]:
    """List the attentions to the text by name, in the order in which IP-Adapter files count."""
    parts = (network.down_blocks, network.up_blocks, network.mid_block)
    found: dict[str, Attention] = {}
    for path, part in zip(("down_blocks", "up_blocks", "mid_block"), parts, strict=True):
        for name, module in part.named_modules(prefix=path) if part is not None else ():
            if isinstance(module, BasicTransformerBlock):
                found[f"{name}.attn2"] = module.attn2
    return found


def with_picture(
    network: UNet2DConditionModel,
    layers: Sequence[tuple[Tensor, Tensor]],
    tokens: int,
    scale: float,
) -> UNet2DConditionModel:
    """Give a network that also reads a picture of so many tokens; the network itself stays.

    `layers` are keys and values (width, text width) for every attention to the text.
    """
    attentions = text_attentions(network)
    changed = with_layers(
        network,
        {
            name: ImageAttention(attention, PictureLayers(*pair, tokens, scale))
            for (name, attention), pair in zip(attentions.items(), layers, strict=True)
        },
    )
    changed.picture_tokens = network.picture_tokens + tokens
    return changed
