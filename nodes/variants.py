"""Networks made of a loaded one: they share its weights, and leave it as it is."""

from typing import Annotated

from pydantic import Field

from graph import node

from .models import UNet, with_balance, with_own_pixels, without_blocks

Places = Annotated[
    list[str],
    Field(min_length=1, description="parts of the network, all that is in them: [down_blocks.2]"),
]


@node
def perturb_attention(model: UNet, at: Places = ["mid_block"]) -> UNet:  # noqa: B006
    """Give a worse network, in which pixels see themselves alone (arXiv:2403.17377).

    What it predicts is what `perturbed_guidance` pushes away from.
    """
    return with_own_pixels(model, at)


@node
def skip_layers(model: UNet, at: Places = ["mid_block"]) -> UNet:  # noqa: B006
    """Give a worse network, which leaves out its transformer blocks here (skip layer guidance).

    What it predicts is what `perturbed_guidance` pushes away from (arXiv:2411.18664).
    """
    return without_blocks(model, at)


Strengths = tuple[float, float]


@node
def free_u(
    model: UNet,
    backbone: Annotated[Strengths, Field(description="of the first two levels up")] = (1.5, 1.6),
    skip: Annotated[Strengths, Field(description="of what is coarse in their skips")] = (0.9, 0.2),
) -> UNet:
    """Give a network that trusts its depth more and its skips less (FreeU, arXiv:2309.11497).

    Published strengths are the defaults for Stable Diffusion 1; SD 2 has backbone [1.4, 1.6] and
    SDXL [1.3, 1.4].
    """
    return with_balance(model, backbone, skip)
