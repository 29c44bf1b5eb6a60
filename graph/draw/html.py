"""A picture as a page of its own: all that is known of what one points at stands beside it."""

from __future__ import annotations

import base64
import hashlib
from html import escape

from .scene import Scene
from .svg import svg
from .theme import page_sheet

# What comes of a graph is text of the SVG; the script moves it about and never reads it as markup.
_SCRIPT = """
const aside = document.querySelector("aside"), picture = document.querySelector("svg");
const hint = aside.textContent, told = new Map();
for (const title of picture.querySelectorAll("title")) {
  told.set(title.parentNode, title.textContent);
  title.remove();
}
const nets = (element) => [...element.classList].filter((name) => /^n\\d+$/.test(name));
let kept = null;
const show = (element) => {
  const [heading, ...rest] = (told.get(element) || hint).split("\\n");
  const strong = document.createElement("strong");
  strong.textContent = heading;
  aside.replaceChildren(...(element ? [strong, rest.join("\\n")] : [hint]));
  const lit = element ? nets(element) : [];
  for (const wire of picture.querySelectorAll(".wire"))
    wire.classList.toggle("dim", lit.length > 0 && !nets(wire).some((net) => lit.includes(net)));
};
const found = (event) => {
  let element = event.target;
  while (element && !told.has(element)) element = element.parentNode;
  return element;
};
picture.addEventListener("mouseover", (event) => kept || show(found(event)));
picture.addEventListener("click", (event) => show(kept = found(event)));
"""
_HINT = "Point at a box or a wire to read what it is; click to keep it."


def html(scene: Scene) -> str:
    """Draw a scene as a page that needs nothing else and may load nothing."""
    digest = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return f"""\
<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width">
<title>{escape(scene.title)}</title>
<style>
{page_sheet()}</style>
<main>
{svg(scene)}</main>
<aside>{_HINT}</aside>
<script>{_SCRIPT}</script>
</html>
"""
