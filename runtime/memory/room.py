"""How much memory there is, and how much people say there is."""

import re
from pathlib import Path

import torch

_UNITS = " KMGT"


def parse_bytes(text: str) -> int:
    """Read a size as people write it: `6GB`, `6.5 GiB`, `800M`, `12B`.

    Raises ValueError for any other text, a number without a unit too, and for less than one byte.
    """
    pattern = r"(\d+(?:\.\d+)?)\s*(?:([KMGT])(i?)B?|B)"
    found = re.fullmatch(pattern, text.strip(), re.IGNORECASE)
    if found is None:
        raise ValueError(f"'{text}' is no size of memory: write 6GB, 6.5GiB or 800MB")
    unit = (1024 if found[3] else 1000) ** _UNITS.index((found[2] or " ").upper())
    size = int(float(found[1]) * unit)
    if size < 1:
        raise ValueError(f"'{text}' is no size of memory: a run needs some")
    return size


def room_on(device: torch.device) -> int | None:
    """Give the bytes that a run may have on a device; None where that is not known.

    On a GPU what other processes leave, on a CPU all there is, with swap.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    table = Path("/proc/meminfo")
    if device.type != "cpu" or not table.exists():
        return None
    rows = (line.split() for line in table.read_text().splitlines())
    return sum(1024 * int(row[1]) for row in rows if row[0] in ("MemTotal:", "SwapTotal:"))
