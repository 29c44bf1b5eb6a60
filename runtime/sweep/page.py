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
            "error": f"row {line['row']}: {line['error']}" if "error" in line else "",
            "pictures": [
                f"{line['name']}/{file}"
                for file in line.get("files", ())
                if file.lower().endswith(PICTURES)
            ],
            "inputs": {name: _text(line.get("inputs", {}).get(name, "")) for name in inputs},
        }
        for line in lines
    ]
    data = script_data({"inputs": list(inputs), "cards": cards})
    template = resources.files("runtime.sweep").joinpath("page.html").read_text(encoding="utf-8")
    return template.replace("{title}", escape(title)).replace("{data}", data)


def script_data(data: Any) -> str:
    """Write data as JSON that may stand in a script of HTML, where only `<` could end it early."""
    return json.dumps(data, default=str).replace("<", "\\u003c")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
