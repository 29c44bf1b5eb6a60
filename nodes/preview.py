"""What a picture is going to be, cheaply: at every step, without the autoencoder."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from graph import node

from .image import to_image, vae_encode
from .kinds import Image, Latents
from .models import Autoencoder

_PICTURES, _SIDE = 8, 16  # of the fit; 2,048 latents for a few numbers each


@dataclass(frozen=True)
class LatentColours:
    """The colour that a latent stands for, as a linear map to [-1, 1]."""

    weights: Tensor  # 3 C
    constant: Tensor  # 3


@node
def fit_preview(vae: Autoencoder) -> LatentColours:
    """Fit the linear map from latents to colours that `preview` draws with, once for a run.

    Every family's latents are others, so the map comes from the autoencoder itself: least squares
    over pictures of random soft shapes that it encodes. Of the variance of emoji-64's pictures, a
    colour for each latent, the preview has about seven tenths.
    """
    generator = torch.Generator().manual_seed(0)
    coarse = 2 * torch.rand(_PICTURES, 3, 5, 5, generator=generator) - 0.5
    pixels = F.interpolate(coarse, 2 * [_SIDE * vae.factor], mode="bicubic").clamp(0, 1)
    latents = vae_encode(vae, pixels, next(vae.parameters()).device)
    seen = latents.movedim(1, -1).flatten(0, -2).double()  # N C
    seen = torch.cat((seen, torch.ones_like(seen[:, :1])), dim=1)  # N C+1
    colours = F.avg_pool2d(2 * pixels - 1, vae.factor).movedim(1, -1).flatten(0, -2).to(seen)  # N 3
    # By the normal equations, which the meta device has a rule for.
    found = torch.linalg.solve(seen.T @ seen, seen.T @ colours).to(latents)  # C+1 3
    return LatentColours(found[:-1].T, found[-1])


@node
def preview(colours: LatentColours, latents: Latents) -> Image:
    """Draw latents as a small picture, a pixel for each: in a loop, those of `clean_estimate`.

    Saved under one path at every step it can be watched; `collect` keeps all.
    """
    channels = colours.weights.shape[1]
    if latents.shape[1] != channels:
        raise ValueError(
            f"`colours` was fitted to latents of {channels} channels, `latents` has "
            f"{latents.shape[1]}: is the autoencoder that of another checkpoint?"
        )
    weights = colours.weights[..., None, None]  # 3 C 1 1
    return to_image(F.conv2d(latents.to(weights), weights, colours.constant))
