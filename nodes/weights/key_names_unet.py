"""The names of a U-Net, and of the half of one that a ControlNet is.

Original files number the blocks through: `input_blocks.7.1` is the attention of the second layer of
the third level. Here the network is walked as it is built, and a counter counts.
"""

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

from .key_names import Name, layer, weight

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
}
HINT_STEP = 2  # a SiLU follows every convolution of a ControlNet's hint


def unet_names(config: Mapping[str, Any]) -> list[Name]:
    """Name every tensor of a UNet2DConditionModel, by its parsed `config.json`."""
    skips: list[int] = []
    names = [*_down_names(config, skips), *_up_names(config, skips)]
    names += [*layer("conv_norm_out", "out.0"), *layer("conv_out", "out.2")]
    return names


def controlnet_names(config: Mapping[str, Any]) -> list[Name]:
    """Name every tensor of a ControlNetModel (arXiv:2302.05543)."""
    skips: list[int] = []
    names = list(_down_names(config, skips))
    for index in range(len(skips)):
        names += layer(f"controlnet_down_blocks.{index}", f"zero_convs.{index}.0")
    names += layer("controlnet_mid_block", "middle_block_out.0")
    widths = config.get("conditioning_embedding_out_channels") or (16, 32, 96, 256)
    embedding = "controlnet_cond_embedding"
    names += layer(f"{embedding}.conv_in", "input_hint_block.0")
    blocks = 2 * (len(widths) - 1)
    for index in range(blocks):
        place = HINT_STEP * (index + 1)
        names += layer(f"{embedding}.blocks.{index}", f"input_hint_block.{place}")
    last = HINT_STEP * (blocks + 1)
    names += layer(f"{embedding}.conv_out", f"input_hint_block.{last}")
    return names


def unet_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Give the shapes that tell one U-Net or ControlNet from another with the same names."""
    widths = config["block_out_channels"]
    embedded = 4 * widths[0]
    shapes: dict[str, tuple[int, ...]] = {
        "conv_in.weight": (widths[0], config.get("in_channels", 4), 3, 3)
    }
    for level, (width, kind) in enumerate(zip(widths, config["down_block_types"], strict=True)):
        shapes[f"down_blocks.{level}.resnets.0.conv2.weight"] = (width, width, 3, 3)
        if _crosses(kind):
            key = f"down_blocks.{level}.attentions.0.transformer_blocks.0.attn2.to_k.weight"
            shapes[key] = (width, config["cross_attention_dim"])
    if config.get("addition_embed_type"):
        added = config["projection_class_embeddings_input_dim"]
        shapes["add_embedding.linear_1.weight"] = (embedded, added)
    if config.get("num_class_embeds"):
        shapes["class_embedding.weight"] = (config["num_class_embeds"], embedded)
    return shapes


def _crosses(kind: str) -> bool:
    return kind.startswith("CrossAttn")


def _per_level(config: Mapping[str, Any], field: str, default: int) -> list[Any]:
    value = config.get(field) or default
    levels = len(config["block_out_channels"])
    return [value] * levels if isinstance(value, int) else list(value)


def _per_layer(value: Any, layers: int) -> list[int]:
    return [value] * layers if isinstance(value, int) else list(value)


def _down_names(config: Mapping[str, Any], skips: list[int]) -> Iterator[Name]:
    """Name the encoder and the middle; `skips` receives the width of every skip connection."""
    yield from layer("time_embedding.linear_1", "time_embed.0")
    yield from layer("time_embedding.linear_2", "time_embed.2")
    if config.get("time_cond_proj_dim"):
        yield from weight("time_embedding.cond_proj", "time_embed.cond_proj")
    if config.get("addition_embed_type"):
        yield from layer("add_embedding.linear_1", "label_emb.0.0")
        yield from layer("add_embedding.linear_2", "label_emb.0.2")
    if config.get("class_embed_type"):
        yield from layer("class_embedding.linear_1", "label_emb.0.0")
        yield from layer("class_embedding.linear_2", "label_emb.0.2")
    if config.get("num_class_embeds"):
        yield from weight("class_embedding", "label_emb")
    if config.get("encoder_hid_dim_type"):
        yield from layer("encoder_hid_proj", "encoder_hid_proj")
    yield from layer("conv_in", "input_blocks.0.0")

    widths, kinds = config["block_out_channels"], config["down_block_types"]
    layers = _per_level(config, "layers_per_block", 2)
    depths = _per_level(config, "transformer_layers_per_block", 1)
    numbers = count(1)
    skips.append(widths[0])
    for level, width in enumerate(widths):
        block = f"down_blocks.{level}"
        for index, depth in enumerate(_per_layer(depths[level], layers[level])):
            place = f"input_blocks.{next(numbers)}"
            yield from _resnet(f"{block}.resnets.{index}", f"{place}.0", skips[-1] != width)
            if _crosses(kinds[level]):
                yield from _transformer(f"{block}.attentions.{index}", f"{place}.1", depth)
            skips.append(width)
        if level < len(widths) - 1:
            place = f"input_blocks.{next(numbers)}.0.op"
            yield from layer(f"{block}.downsamplers.0.conv", place)
            skips.append(width)

    middle = config.get("mid_block_type", "UNetMidBlock2DCrossAttn")
    if middle is not None:
        yield from _resnet("mid_block.resnets.0", "middle_block.0", False)
    if middle == "UNetMidBlock2DCrossAttn":
        last = _per_layer(depths[-1], 1)[-1]
        yield from _transformer("mid_block.attentions.0", "middle_block.1", last)
        yield from _resnet("mid_block.resnets.1", "middle_block.2", False)


def _up_names(config: Mapping[str, Any], skips: list[int]) -> Iterator[Name]:
    widths, kinds = config["block_out_channels"], config["up_block_types"]
    layers = _per_level(config, "layers_per_block", 2)[::-1]
    depths = config.get("reverse_transformer_layers_per_block")
    depths = depths or _per_level(config, "transformer_layers_per_block", 1)[::-1]
    numbers = count()
    coming = widths[-1]
    for level, width in enumerate(reversed(widths)):
        block = f"up_blocks.{level}"
        place = ""
        for index, depth in enumerate(_per_layer(depths[level], layers[level] + 1)):
            place = f"output_blocks.{next(numbers)}"
            widens = coming + skips.pop() != width
            yield from _resnet(f"{block}.resnets.{index}", f"{place}.0", widens)
            if _crosses(kinds[level]):
                yield from _transformer(f"{block}.attentions.{index}", f"{place}.1", depth)
            coming = width
        if level < len(widths) - 1:
            after = 2 if _crosses(kinds[level]) else 1
            yield from layer(f"{block}.upsamplers.0.conv", f"{place}.{after}.conv")


def _resnet(ours: str, original: str, shortcut: bool) -> Iterator[Name]:
    for here, there in RESNET.items():
        yield from layer(f"{ours}.{here}", f"{original}.{there}")
    if shortcut:
        yield from layer(f"{ours}.conv_shortcut", f"{original}.skip_connection")


def _transformer(ours: str, original: str, depth: int) -> Iterator[Name]:
    """Name a transformer, whose insides are called the same in both."""
    for name in ("norm", "proj_in", "proj_out"):
        yield from layer(f"{ours}.{name}", f"{original}.{name}")
    for index in range(depth):
        inside = f"transformer_blocks.{index}"
        for name in ("norm1", "norm2", "norm3", "ff.net.0.proj", "ff.net.2"):
            yield from layer(f"{ours}.{inside}.{name}", f"{original}.{inside}.{name}")
        for attention in (f"{inside}.attn1", f"{inside}.attn2"):
            for name in ("to_q", "to_k", "to_v"):
                yield from weight(f"{ours}.{attention}.{name}", f"{original}.{attention}.{name}")
            yield from layer(f"{ours}.{attention}.to_out.0", f"{original}.{attention}.to_out.0")
