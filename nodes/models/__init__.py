"""The networks, in pure torch, with the class and parameter names of diffusers' checkpoints."""

from .autoencoder import Autoencoder
from .autoencoder_kl import AutoencoderKL
from .autoencoder_tiny import AutoencoderTiny
from .clip_text import CLIPTextModel
from .clip_vision import CLIPVisionModel, CLIPVisionModelWithProjection
from .conditioning import ConditioningConfig, Conditions
from .controlnet import ControlNetModel
from .ip_adapter import (
    ImageProjection,
    Resampler,
    image_projection,
    text_attentions,
    with_picture,
)
from .layers import for_all, sinusoid
from .packed import pack, packable
from .perturbed import with_balance, with_own_pixels, without_blocks
from .quantized import Precision, is_quantized, with_eight_bits
from .skeleton import Skeleton
from .t2i_adapter import T2IAdapter
from .unet import Residuals, UNet
from .unet_2d import UNet2DModel
from .unet_2d_condition import UNet2DConditionModel
from .variant import Weighted, with_layers, with_weight

__all__ = [
    "Autoencoder",
    "AutoencoderKL",
    "AutoencoderTiny",
    "CLIPTextModel",
    "CLIPVisionModel",
    "CLIPVisionModelWithProjection",
    "ConditioningConfig",
    "Conditions",
    "ControlNetModel",
    "ImageProjection",
    "Precision",
    "Resampler",
    "Residuals",
    "Skeleton",
    "T2IAdapter",
    "UNet",
    "UNet2DConditionModel",
    "UNet2DModel",
    "Weighted",
    "for_all",
    "image_projection",
    "is_quantized",
    "pack",
    "packable",
    "sinusoid",
    "text_attentions",
    "with_balance",
    "with_eight_bits",
    "with_layers",
    "with_own_pixels",
    "with_picture",
    "with_weight",
    "without_blocks",
]
