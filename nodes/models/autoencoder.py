"""What every autoencoder between pictures and latents can do."""

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn


class Distribution(NamedTuple):
    """A diagonal Gaussian over latents, both (B, C, h, w), in the autoencoder's own scale."""

    mean: Tensor
    log_variance: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Give the latents that standard noise (B, C, h, w) stands for."""
        return self.mean + (0.5 * self.log_variance).exp() * noise


class Autoencoder(nn.Module, ABC):
    """Pictures (B, 3, H, W) in [-1, 1] to latents (B, C, H/factor, W/factor) and back.

    UNets are trained on latents of another scale: `scaled` gives it, `unscaled` undoes it.
    """

    @property
    @abstractmethod
    def factor(self) -> int:
        """How many pixels stand behind one latent, along each side."""

    @property
    @abstractmethod
    def channels(self) -> int:
        """How many numbers a latent has."""

    @property
    def overflows(self) -> bool:
        """Whether it gives black pictures in float16."""
        return False

    @abstractmethod
    def encode(self, picture: Tensor, tile: int | None = None) -> Distribution:
        """Give the distribution of a picture's latents, in the autoencoder's own scale.

        `tile`, in latents, bounds the memory of a large picture; see in_tiles.
        """

    @abstractmethod
    def decode(self, latents: Tensor, tile: int | None = None) -> Tensor:
        """Give the pictures of latents in the autoencoder's own scale; `tile` as in encode."""

    @abstractmethod
    def scaled(self, own: Tensor) -> Tensor:
        """Bring latents from the autoencoder's own scale to that of UNets."""

    @abstractmethod
    def unscaled(self, latents: Tensor) -> Tensor:
        """Bring latents from the scale of UNets to the autoencoder's own."""
