"""The names of an autoencoder. In original files the decoder's levels are numbered from the end."""

from collections.abc import Iterator, Mapping
from typing import Any

from .key_names import CONVOLUTION, Name, layer

ATTENTION = {"to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def vae_names(config: Mapping[str, Any]) -> list[Name]:
    """Name every tensor of an AutoencoderKL, by its parsed `config.json`."""
    names = [*_encoder(config), *_decoder(config)]
    if config.get("use_quant_conv", True):
        names += layer("quant_conv", "quant_conv")
    if config.get("use_post_quant_conv", True):
        names += layer("post_quant_conv", "post_quant_conv")
    return names


def vae_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Give the shapes that tell one autoencoder from another with the same names."""
    widths = config["block_out_channels"]
    shapes: dict[str, tuple[int, ...]] = {
        f"encoder.down_blocks.{level}.resnets.0.conv2.weight": (width, width, 3, 3)
        for level, width in enumerate(widths)
    }
    shapes["decoder.conv_in.weight"] = (widths[-1], config.get("latent_channels", 4), 3, 3)
    return shapes


def _encoder(config: Mapping[str, Any]) -> Iterator[Name]:
    widths = config["block_out_channels"]
    yield from layer("encoder.conv_in", "encoder.conv_in")
    coming = widths[0]
    for level, width in enumerate(widths):
        ours, original = f"encoder.down_blocks.{level}", f"encoder.down.{level}"
        for index in range(config.get("layers_per_block", 1)):
            yield from _resnet(
                f"{ours}.resnets.{index}", f"{original}.block.{index}", coming != width
            )
            coming = width
        if level < len(widths) - 1:
            yield from layer(f"{ours}.downsamplers.0.conv", f"{original}.downsample.conv")
    yield from _middle("encoder", config)
    yield from _out("encoder")


def _decoder(config: Mapping[str, Any]) -> Iterator[Name]:
    widths = config["block_out_channels"]
    yield from layer("decoder.conv_in", "decoder.conv_in")
    yield from _middle("decoder", config)
    coming = widths[-1]
    for level, width in enumerate(reversed(widths)):
        from_end = len(widths) - 1 - level
        ours, original = f"decoder.up_blocks.{level}", f"decoder.up.{from_end}"
        for index in range(config.get("layers_per_block", 1) + 1):
            yield from _resnet(
                f"{ours}.resnets.{index}", f"{original}.block.{index}", coming != width
            )
            coming = width
        if from_end:
            yield from layer(f"{ours}.upsamplers.0.conv", f"{original}.upsample.conv")
    yield from _out("decoder")


def _middle(half: str, config: Mapping[str, Any]) -> Iterator[Name]:
    ours, original = f"{half}.mid_block", f"{half}.mid"
    yield from _resnet(f"{ours}.resnets.0", f"{original}.block_1", False)
    if config.get("mid_block_add_attention", True):
        yield from layer(f"{ours}.attentions.0.group_norm", f"{original}.attn_1.norm")
        for here, there in ATTENTION.items():
            yield from layer(
                f"{ours}.attentions.0.{here}", f"{original}.attn_1.{there}", CONVOLUTION
            )
    yield from _resnet(f"{ours}.resnets.1", f"{original}.block_2", False)


def _out(half: str) -> Iterator[Name]:
    yield from layer(f"{half}.conv_norm_out", f"{half}.norm_out")
    yield from layer(f"{half}.conv_out", f"{half}.conv_out")


def _resnet(ours: str, original: str, shortcut: bool) -> Iterator[Name]:
    for name in ("norm1", "conv1", "norm2", "conv2"):
        yield from layer(f"{ours}.{name}", f"{original}.{name}")
    if shortcut:
        yield from layer(f"{ours}.conv_shortcut", f"{original}.nin_shortcut")
