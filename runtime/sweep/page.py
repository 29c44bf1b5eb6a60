"""A sweep as a page: its pictures, and filters by what was varied. One file, no server."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from typing import Any

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".apng")


def contact_page(title: str, lines: Sequence[Mapping[str, Any]], inputs: Sequence[str]) -> str:
    """Write the page for the lines of a manifest; `inputs` are those to filter by and to show."""
    cards = [
        {
            "name": line["name"],
            "status": line["status"],
            "error": line.get("error", ""),
            "pictures": [
                f"{line['name']}/{file}"
                for file in line.get("files", ())
                if file.lower().endswith(PICTURES)
            ],
            "inputs": {name: _text(line.get("inputs", {}).get(name)) for name in inputs},
        }
        for line in lines
    ]
    # In a script of HTML, only `<` could end the data early.
    data = json.dumps({"inputs": list(inputs), "cards": cards}).replace("<", "\\u003c")
    template = resources.files("runtime.sweep").joinpath("page.html").read_text(encoding="utf-8")
    return template.replace("{title}", escape(title)).replace("{data}", data)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
