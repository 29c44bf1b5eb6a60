"""Stable Diffusion's safety checker, for those who want it: no graph has it of itself."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graph import node

from .kinds import Device, Dtype, Image
from .load import Digest, Model, build_network, find_part, part_files
from .models import CLIPVisionModel
from .vision import as_clip_sees

_STRICTER = 0.01  # by so much for a picture that is near a special concept
_CONCEPTS, _SPECIAL = 17, 3


class SafetyChecker(nn.Module):
    """Compares pictures, as CLIP sees them, with concepts of which only the vectors are known."""

    def __init__(self, vision: CLIPVisionModel, width: int) -> None:
        super().__init__()
        self.vision_model = vision
        self.visual_projection = nn.Linear(vision.config.hidden_size, width, bias=False)
        self.concept_embeds = nn.Parameter(torch.ones(_CONCEPTS, width))
        self.special_care_embeds = nn.Parameter(torch.ones(_SPECIAL, width))
        self.concept_embeds_weights = nn.Parameter(torch.ones(_CONCEPTS))
        self.special_care_embeds_weights = nn.Parameter(torch.ones(_SPECIAL))

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the network of a parsed `config.json`, weights as torch initialises them."""
        vision = CLIPVisionModel.from_config(config.get("vision_config") or {})
        return cls(vision, config.get("projection_dim", 512))

    def forward(self, pictures: Tensor) -> Tensor:
        """Say which of normalised pictures (B, 3, side, side) are too near to a concept: (B,)."""
        seen = self.visual_projection(self.vision_model(pictures))
        special = _near(seen, self.special_care_embeds, self.special_care_embeds_weights)
        stricter = _STRICTER * (special > 0).any(dim=1, keepdim=True)
        concepts = _near(seen, self.concept_embeds, self.concept_embeds_weights)
        return (concepts + stricter > 0).any(dim=1)


def _near(seen: Tensor, concepts: Tensor, limits: Tensor) -> Tensor:
    """Say by how much the cosine of every picture with every concept is over its limit: (B, N)."""
    cosines = F.normalize(seen) @ F.normalize(concepts).T
    # The limits have three digits.
    return (cosines.float() - limits.float()).round(decimals=3)


class CheckedImage(NamedTuple):
    """Pictures, those that were flagged black, and which these are."""

    image: Image
    flagged: Tensor  # B


@node(reads=part_files)
def load_safety_checker(
    model: Model,
    device: Device,
    dtype: Dtype,
    subfolder: str = "safety_checker",
    revision: str | None = None,
    variant: str | None = None,
    sha256: Digest = None,
) -> SafetyChecker:
    """Load the safety checker of a Stable Diffusion checkpoint (arXiv:2210.04610 examines it)."""
    found = find_part(model, subfolder, revision, variant, sha256, device)
    # Files have a level of names that nobody needs, and count positions.
    level = "vision_model."
    tensors = {
        key.replace(2 * level, level): tensor
        for key, tensor in found.tensors.items()
        if not key.endswith("position_ids")
    }
    return build_network(SafetyChecker.from_config, replace(found, tensors=tensors), device, dtype)


@node
def check_safety(checker: SafetyChecker, image: Image) -> CheckedImage:
    """Black out the pictures that the safety checker flags, and say which."""
    weight = checker.visual_projection.weight
    side = checker.vision_model.config.image_size
    pictures = as_clip_sees(image.float(), side).to(weight.device, weight.dtype)
    flagged = checker(pictures).to(image.device)
    return CheckedImage(image.masked_fill(flagged[:, None, None, None], 0), flagged)
