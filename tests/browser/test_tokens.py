"""The Tokens page in a real browser."""

from __future__ import annotations

import re

import pytest

READY = "How to read this page"


def ready(page):
    page.get_by_text(READY).wait_for()
    page.locator("[data-testid='stStatusWidget']").wait_for(state="detached")
    return page


def test_a_link_to_the_page_works_as_the_first_thing_a_server_is_asked_for(fresh_server, open_page):
    page = ready(open_page(f"{fresh_server.url}/tokens"))
    page.get_by_text("Sentence pairs").wait_for()
    assert "Special tokens" in page.get_by_role("heading", level=1).inner_text()


@pytest.mark.parametrize(("theme", "width"), [("light", 1440), ("dark", 800)])
def test_page_shows_all_panels(server, open_page, theme, width):
    page = ready(open_page(f"{server.url}/tokens", theme=theme, width=width))
    page.get_by_text("cells sum to").nth(1).wait_for()
    page.locator(".js-plotly-plot").nth(3).wait_for(state="attached")
    assert page.foreign == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize(("link", "row"), [("", 858), ("/?split=test", None)])
def test_a_ticked_pair_is_taken_apart(server, open_page, link, row):
    """Also where the link holds what a widget is bound to, which Streamlit refuses to carry over."""
    page = ready(open_page(server.url + link))
    table = page.get_by_test_id("stDataFrame").first
    table.scroll_into_view_if_needed()
    box = table.bounding_box()
    page.mouse.click(box["x"] + 16, box["y"] + 90)  # the second row's tick box, drawn on a canvas
    page.get_by_role("button", name=re.compile("Take the ticked pair apart")).click()
    page.wait_for_url(re.compile(r"tokens.*row=\d+"))
    asked = re.search(r"row=(\d+)", page.url).group(1)
    assert row is None or int(asked) == row
    page.get_by_text("cells sum to").nth(1).wait_for()
    page.get_by_text(f"Row {asked}.").wait_for()
