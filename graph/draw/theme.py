"""The colours of pictures, on paper and on a dark screen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Colour(NamedTuple):
    """A colour on a light ground and on a dark one."""

    light: str
    dark: str


HUES: Mapping[str, Colour] = {
    "model": Colour("#64748b", "#94a3b8"),
    "text": Colour("#16a34a", "#4ade80"),
    "schedule": Colour("#7c3aed", "#a78bfa"),
    "latents": Colour("#ea580c", "#fb923c"),
    "prediction": Colour("#db2777", "#f472b6"),
    "control": Colour("#ca8a04", "#facc15"),
    "image": Colour("#2563eb", "#60a5fa"),
    "mask": Colour("#0d9488", "#2dd4bf"),
    "value": Colour("#a1a1aa", "#71717a"),
}
"""What ports and wires may be coloured by, in the order of the legend."""

DESK = Colour("#f4f4f5", "#010409")
PAPER = Colour("#ffffff", "#0d1117")
INK = Colour("#18181b", "#f0f6fc")
MUTED = Colour("#71717a", "#9198a1")
BOX = Colour("#ffffff", "#161b22")
BORDER = Colour("#d4d4d8", "#3d444d")
GROUP = Colour("#71717a", "#9198a1")
LOOP = Colour("#8b5cf6", "#8b5cf6")
LOOP_BORDER = Colour("#c4b5fd", "#5b4a94")
LOOP_INK = Colour("#6d28d9", "#b9a4ff")
CHIP = Colour("#eef2ff", "#1e2440")
CHIP_INK = Colour("#4338ca", "#a5b4fc")

SANS = "Inter,'Segoe UI','Helvetica Neue',Helvetica,Arial,'Liberation Sans',sans-serif"
MONO = "ui-monospace,'SF Mono',Menlo,Consolas,'Liberation Mono','DejaVu Sans Mono',monospace"

_RULES: Mapping[str, Mapping[str, Colour]] = {
    ".paper": {"fill": PAPER},
    "text": {"fill": INK},
    ".label,.note,.node,.muted": {"fill": MUTED},
    ".box": {"fill": BOX, "stroke": BORDER},
    ".group": {"fill": GROUP},
    ".loop": {"fill": LOOP, "stroke": LOOP_BORDER},
    ".loop-title": {"fill": LOOP_INK},
    ".chip": {"fill": BOX, "stroke": BORDER},
    ".input": {"fill": CHIP, "stroke": CHIP},
    ".chip-text": {"fill": MUTED},
    ".input-text": {"fill": CHIP_INK},
    ".port": {"stroke": BOX},
}
_FIXED = f"""\
text{{font-family:{SANS};text-anchor:middle}}
.title{{font-size:13px;font-weight:600}}
.node{{font-size:10.5px;font-family:{MONO}}}
.label,.chip-text,.input-text{{font-size:10px}}
.note{{font-size:9.5px}}
.start{{text-anchor:start}}
.head{{font-size:22px;font-weight:700;letter-spacing:-.01em}}
.doc{{font-size:13px}}
.fact{{font-size:11px}}
.box,.chip{{stroke-width:1}}
.group{{fill-opacity:.09}}
.loop{{stroke-width:1.4;fill-opacity:.05}}
.when{{stroke-dasharray:4 3}}
.wire{{fill:none;stroke-width:1.6;stroke-linejoin:round}}
.back{{stroke-width:2.6}}
.port{{stroke-width:1.4}}
"""


_PAGE = f"""\
body{{margin:0;display:flex;align-items:flex-start;font-family:{SANS}}}
main{{flex:1;padding:16px;text-align:center}}
svg{{max-width:100%;height:auto}}
svg g,svg path{{cursor:default}}
aside{{position:sticky;top:16px;width:300px;max-height:calc(100vh - 64px);margin:16px 16px 16px 0;
padding:16px;box-sizing:border-box;overflow:auto;border-radius:12px;border:1px solid;
font-size:13px;line-height:1.5;white-space:pre-wrap;overflow-wrap:anywhere}}
strong{{display:block;font-size:15px}}
.dim{{opacity:.12}}
"""


def page_sheet() -> str:
    """Write the style of a page with a picture."""
    sides = [
        f"body{{background:{DESK[side]}}}"
        f"aside{{background:{PAPER[side]};color:{INK[side]};border-color:{BORDER[side]}}}\n"
        for side in (0, 1)
    ]
    return f"{_PAGE}{sides[0]}@media (prefers-color-scheme:dark){{\n{sides[1]}}}\n"


def style_sheet() -> str:
    """Write the style of a picture: light, and dark where the reader's screen is."""
    light, dark = _sheet(0), _sheet(1)
    return f"{_FIXED}{light}@media (prefers-color-scheme:dark){{\n{dark}}}\n"


def _sheet(side: int) -> str:
    rules = {
        selector: ";".join(f"{name}:{colour[side]}" for name, colour in rule.items())
        for selector, rule in _RULES.items()
    }
    for hue, colour in HUES.items():
        rules[f".wire.{hue}"] = f"stroke:{colour[side]}"
        rules[f".port.{hue},.tip.{hue}"] = f"fill:{colour[side]}"
    return "".join(f"{selector}{{{rule}}}\n" for selector, rule in rules.items())
