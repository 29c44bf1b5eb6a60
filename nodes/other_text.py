"""Text encoders other than CLIP's, by the transformers library, whose import takes long."""

import difflib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .models import Skeleton
from .weights import Component, StoredTensor, load_weights


class OtherTextModel(nn.Module):
    """Reads tokens (B, N) with a network of transformers; padding is hidden from the text."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, tokens: Tensor) -> list[Tensor]:
        """Give the states of the last layer alone (B, N, D)."""
        pad = self.network.config.pad_token_id
        # The library asks whether a mask hides anything, which the meta device cannot say.
        seen = None if pad is None or tokens.is_meta else (tokens != pad).long()
        return [self.network(tokens, attention_mask=seen).last_hidden_state]

    def normalised(self, states: Tensor) -> Tensor:
        """Give states as they are: the last layer's are normalised where the network does so."""
        return states


def load_other_text_model(
    found: Component, device: torch.device, dtype: torch.dtype
) -> OtherTextModel:
    """Build the text encoder that a config names, and give it its weights.

    Raises ValueError for a config that no class of transformers is for, or that wants code of its
    own to be run, and for weights that do not fit.
    """
    with Skeleton():
        network = _build(found)
    network.to(dtype).eval().requires_grad_(False)
    overflowing = (network._keep_in_fp32_modules or ()) if dtype == torch.float16 else ()
    for name, part in network.named_modules():
        if name.split(".")[-1] in overflowing:
            part.float()
    if device.type != "meta":
        load_weights(network, _under_all_names(network, found.tensors), device)
        network.tie_weights()
        network.to(device)  # what it counts with, too
    return OtherTextModel(network)


def _build(found: Component) -> Any:
    from transformers.models.auto.configuration_auto import AutoConfig
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES,
        AutoModelForTextEncoding,
    )

    kinds = {name: kind for kind, name in MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES.items()}
    name = found.config["architectures"][0]
    if name not in kinds:
        if "auto_map" in found.config:
            raise ValueError(
                f"{found.file}: {name} is code of the checkpoint's own, which is never run"
            )
        known = sorted({*kinds, "CLIPTextModelWithProjection"})
        near = difflib.get_close_matches(name, known, 1)
        raise ValueError(
            f"{found.file}: there is no text encoder '{name}'"
            + (f", did you mean '{near[0]}'?" if near else f", there are {', '.join(known)}")
        )
    values = {name: value for name, value in found.config.items() if name != "auto_map"}
    try:
        config = AutoConfig.for_model(**{**values, "model_type": kinds[name]})
        return AutoModelForTextEncoding.from_config(config, trust_remote_code=False)
    except Exception as error:
        raise ValueError(f"{found.file} is no config of {name}: {error}") from error


def _under_all_names(
    network: nn.Module, tensors: Mapping[str, StoredTensor]
) -> dict[str, StoredTensor]:
    """Add weights that a network has under several names, and its files under one of them."""
    names: dict[Tensor, list[str]] = {}
    for name, weight in network.named_parameters(remove_duplicate=False):
        names.setdefault(weight, []).append(name)
    stored = {
        name: tensors[known]
        for group in names.values()
        for known in group
        if known in tensors
        for name in group
    }
    return {**stored, **tensors}
