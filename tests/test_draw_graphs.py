"""The pictures of docs/graphs.md are those of the graphs as they are."""

import pytest

from tools.draw_graphs import PAGE, PICTURES, page, pictures

REDRAW = "python -m tools.draw_graphs draws them again"


@pytest.mark.slow
def test_the_pictures_of_the_docs_are_current(capsys):
    drawn = pictures()
    shown = {path.stem: path.read_text() for path in PICTURES.glob("*.svg")}
    assert sorted(drawn) == sorted(shown), REDRAW
    stale = [name for name in drawn if drawn[name] != shown[name]]
    assert not stale, REDRAW


@pytest.mark.slow
def test_the_page_of_the_docs_is_current():
    assert PAGE.read_text() == page(), REDRAW
