"""The networks, in pure torch, with the class and parameter names of diffusers' checkpoints."""

from .autoencoder_kl import AutoencoderKL
from .packed import pack
from .unet import UNet
from .unet_2d import UNet2DModel
from .unet_2d_condition import UNet2DConditionModel

__all__ = ["AutoencoderKL", "UNet", "UNet2DConditionModel", "UNet2DModel", "pack"]
