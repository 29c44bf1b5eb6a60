"""Stable Diffusion 1's UNet at full width with random weights, which other benchmarks call."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nodes.models import UNet2DConditionModel
from runtime.meter import FusedAttention, Meter

CONFIG: dict[str, Any] = {
    "sample_size": 64, "in_channels": 4, "out_channels": 4, "layers_per_block": 2,
    "block_out_channels": (320, 640, 1280, 1280), "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "down_block_types": (*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"),
    "up_block_types": ("UpBlock2D", *["CrossAttnUpBlock2D"] * 3),
}  # fmt: skip


def random_unet(config: dict[str, Any]) -> UNet2DConditionModel:
    """Make the network in float32; its weights are the same every time."""
    torch.manual_seed(0)
    return UNet2DConditionModel.from_config(config).eval().requires_grad_(False)


def with_weights_of(unet: nn.Module, network: nn.Module, dtype: torch.dtype) -> Any:
    """Give a network, made on the meta device, copies of the weights of a UNet."""
    weights = {name: it.to(dtype, copy=True) for name, it in unet.state_dict().items()}
    network.load_state_dict(weights, assign=True)
    return network.eval().requires_grad_(False)


def inputs(size: int, device: str = "cpu") -> tuple[Tensor, Tensor, Tensor]:
    """Make a sample, its noise level and the texts of both halves of guidance, in float32.

    The size is in pixels.
    """
    side = size // 8
    sample, text = (torch.randn(it, device=device) for it in ((1, 4, side, side), (2, 77, 768)))
    return sample, torch.tensor(500.0, device=device), text


def operations(config: dict[str, Any], size: int) -> int:
    """Count the floating-point operations of a call on a batch of two."""
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(config)
    sample, noise_level, text = inputs(size, "meta")
    with torch.no_grad(), FusedAttention(), Meter() as meter:
        unet(sample.repeat(2, 1, 1, 1), noise_level, text)
    return meter.flops


def error_of(found: Tensor, true: Tensor) -> float:
    """Give the relative error, root mean square."""
    return ((found.float() - true).norm() / true.norm()).item()


def held() -> int:
    """Give the bytes that this process holds, but for pages of files; for Linux."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
