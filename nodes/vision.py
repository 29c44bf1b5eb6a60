"""How CLIP sees pictures."""

import torch
import torch.nn.functional as F
from torch import Tensor

_MEAN, _DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def as_clip_sees(image: Tensor, side: int) -> Tensor:
    """Scale the shorter side of pictures to `side`, cut out the middle, and normalise."""
    height, width = image.shape[-2:]
    scaled = [max(side, side * length // min(height, width)) for length in (height, width)]
    image = F.interpolate(image, scaled, mode="bicubic", antialias=True).clamp(0, 1)
    top, left = ((length - side) // 2 for length in scaled)
    image = image[..., top : top + side, left : left + side]
    mean, deviation = (
        torch.tensor(values, device=image.device)[:, None, None] for values in (_MEAN, _DEVIATION)
    )
    return (image - mean) / deviation
