"""Pictures of graphs: as text, as Mermaid, as SVG, as a page."""

from .build import scene_of
from .html import html
from .layout import lay_out
from .mermaid import mermaid
from .placed import PlacedFrame
from .scene import Facts, Scene
from .svg import svg
from .text import text

__all__ = ["Facts", "PlacedFrame", "Scene", "html", "lay_out", "mermaid", "scene_of", "svg", "text"]
