"""Where the networks run, and in what precision."""

import re
from collections.abc import Iterable

import torch

from graph import did_you_mean

DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = ("auto", "float32", "bfloat16", "float16")
_ELSEWHERE = {
    "gpu": "cuda", "nvidia": "cuda", "metal": "mps",
    "fp32": "float32", "full": "float32", "bf16": "bfloat16", "fp16": "float16", "half": "float16",
}  # fmt: skip
"""What other programs call them."""


def choose_device(wish: str) -> torch.device:
    """Take the device that was asked for, or the fastest one there is.

    Raises ValueError for a name that is no device, or a device that this machine does not have.
    """
    if wish == "auto":
        found = "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device("cuda" if torch.cuda.is_available() else found)
    try:
        device = torch.device(wish)
    except RuntimeError as error:
        raise ValueError(_unknown("device", wish, DEVICES, ", or cuda:1 and so on")) from error
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device '{wish}' cannot be used: {str(error).splitlines()[0]}; "
            f"give one of {', '.join(DEVICES)}, or cuda:1 and so on"
        ) from error
    return device


def choose_dtype(wish: str, device: torch.device) -> torch.dtype:
    """Take the precision that was asked for, or the fastest sound one of the device.

    bfloat16 where the hardware multiplies in it, float16 on older GPUs, else float32. Raises
    ValueError for a name that is no precision.
    """
    return _choice(wish, device)[0]


def why_dtype(wish: str, device: torch.device) -> str:
    """Say why `choose_dtype` takes what it takes."""
    return _choice(wish, device)[1]


def _choice(wish: str, device: torch.device) -> tuple[torch.dtype, str]:
    if wish not in DTYPES:
        raise ValueError(_unknown("precision", wish, DTYPES))
    if wish != "auto":
        return getattr(torch, wish), "as asked"
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return torch.bfloat16, "this GPU multiplies in it"
        return torch.float16, "this GPU does not multiply in bfloat16"
    if device.type == "cpu":
        if _multiplies_bfloat16():
            return torch.bfloat16, "this processor multiplies in it"
        return torch.float32, "this processor does not multiply in bfloat16"
    return torch.float16, "the fastest here"


def _unknown(what: str, wish: str, valid: Iterable[str], others: str = "") -> str:
    name = re.split(r"[:\d]*$", wish.lower())[0]  # of a device, without its number
    meant = _ELSEWHERE.get(wish.lower()) or _ELSEWHERE.get(name) or name
    near = did_you_mean(meant, valid)
    return f"{what} '{wish}' is none of {', '.join(valid)}{others}" + (f"; {near}" if near else "")


def _multiplies_bfloat16() -> bool:
    """Ask whether the processor has instructions for it: torch says so only under private names."""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in names)
