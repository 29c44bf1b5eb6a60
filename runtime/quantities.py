"""Numbers with their unit, in three digits."""

_PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def quantity(value: int, unit: str = "") -> str:
    """Write a count in three digits: `4.06 MB`, `12 B`, `860 M`."""
    rounded = float(f"{value:.3g}")  # 999,600 is 1 M, not 1e+03 k
    for size, prefix in _PREFIXES:
        if rounded >= size:
            return f"{rounded / size:.3g} {prefix}{unit}"
    return f"{value} {unit}".rstrip()
