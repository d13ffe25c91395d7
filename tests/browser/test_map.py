"""The Map page in a real browser: drawing around points, search, neighbours, both themes."""

from __future__ import annotations

import contextlib
import re

import pytest
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

READY = "How to read this page"
FINDING = re.compile(r"Of its 10 nearest neighbours under raw-mini, a sentence keeps \d\d% under cured-mini")
SELECTED = re.compile(r"\d+ selected sentences")

# A first map waits for compilers, and the machine may be busy.
LONG = 240_000


def ready(page):
    page.set_default_timeout(LONG)
    page.get_by_text(READY).wait_for()
    page.get_by_role("heading", name="How far to trust the map").wait_for()
    page.locator("[data-testid='stStatusWidget']").wait_for(state="detached")
    return page


def traces(page, name, count):
    """Wait until the figure has that many traces of a name."""
    page.wait_for_function(
        "([name, count]) => document.querySelector('.js-plotly-plot')?.data?.filter(t => t.name === name).length"
        " === count",
        arg=[name, count],
    )


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("theme", "width"), [("light", 1440), ("dark", 800)])
def test_page_shows_the_map_and_its_lists_and_asks_nobody_else(server, open_page, serious, theme, width):
    page = ready(open_page(f"{server.url}/map", theme=theme, width=width))
    assert FINDING.search(page.get_by_role("heading", level=1).inner_text().replace("\n", " "))
    page.locator(".js-plotly-plot").first.locator(".subplot").nth(1).wait_for(state="attached")
    page.get_by_role("columnheader", name="neighbour", exact=True).nth(1).wait_for()
    assert page.foreign == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert serious(page) == []
    log = server.log.read_text()
    assert "Traceback" not in log


def draw_box(page, plot):
    """Draw around all of the first panel."""
    plot.hover()
    plot.locator("[data-title='Box Select']").first.click()
    page.wait_for_function("() => document.querySelector('.js-plotly-plot')._fullLayout.dragmode === 'select'")
    box = plot.locator(".nsewdrag").first.bounding_box()
    page.mouse.move(box["x"] + 3, box["y"] + 3)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.5, steps=5)
    page.mouse.move(box["x"] + box["width"] - 3, box["y"] + box["height"] - 3, steps=5)
    page.mouse.up()


def draw_lasso(page, plot):
    """Draw around the upper half of the second panel."""
    box = plot.locator(".nsewdrag").nth(1).bounding_box()
    page.mouse.move(box["x"] + 4, box["y"] + 4)
    page.mouse.down()
    for x, y in ((0.5, 0.01), (0.98, 0.02), (0.98, 0.5), (0.5, 0.5), (0.02, 0.5), (0.02, 0.05)):
        page.mouse.move(box["x"] + box["width"] * x, box["y"] + box["height"] * y, steps=3)
    page.mouse.up()


def select(page, draw):
    """Draw until the list is there: a figure drawn anew in the middle (the page was settling) forgets the selection."""
    heading = page.get_by_role("heading", name=SELECTED)
    for _ in range(6):
        draw()
        with contextlib.suppress(PlaywrightTimeoutError):
            heading.wait_for(timeout=20_000)
            return heading
    raise AssertionError("six selections were forgotten")


@pytest.mark.timeout(600)
def test_box_lists_the_sentences_shows_them_in_all_panels_and_exports(server, open_page):
    page = ready(open_page(f"{server.url}/map"))
    plot = page.locator(".js-plotly-plot").first
    plot.scroll_into_view_if_needed()
    heading = select(page, lambda: draw_box(page, plot))
    count = int(heading.inner_text().split()[0])
    assert count > 150
    traces(page, "selected", 2)
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").first.click()
    text = download.value.path().read_text(encoding="utf-8-sig")
    names = text.splitlines()[0]
    assert names.startswith("sentence number,row,label,")
    assert '"cosine, raw-mini"' in names
    assert len(text.splitlines()) > count  # a sentence stands in one or more pairs
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").nth(1).click()
    assert len(download.value.path().read_text(encoding="utf-8-sig").splitlines()) == 232
    page.get_by_role("button", name="Clear the selection").click()
    heading.wait_for(state="detached")
    traces(page, "selected", 0)


@pytest.mark.timeout(600)
def test_lasso_in_the_second_panel_lists_and_marks_the_same_sentences_in_the_first(server, open_page):
    page = ready(open_page(f"{server.url}/map"))
    plot = page.locator(".js-plotly-plot").first
    plot.scroll_into_view_if_needed()
    page.wait_for_function("() => document.querySelector('.js-plotly-plot')._fullLayout.dragmode === 'lasso'")
    heading = select(page, lambda: draw_lasso(page, plot))
    count = int(heading.inner_text().split()[0])
    assert 20 < count < 231
    traces(page, "selected", 2)
    marked = page.evaluate(
        "() => document.querySelector('.js-plotly-plot')._fullData"
        ".filter(trace => trace.name === 'selected').map(trace => trace.x.length)"
    )
    assert marked == [count, count]


@pytest.mark.timeout(600)
def test_search_rings_what_it_finds_and_is_in_the_link(server, open_page):
    page = ready(open_page(f"{server.url}/map"))
    box = page.get_by_placeholder("Search the sentences")
    box.fill("Surfer")
    box.press("Enter")
    page.get_by_role("heading", name=re.compile(r"\d+ sentences found")).wait_for()
    traces(page, "found", 2)
    page.wait_for_url(re.compile("search="))
    again = ready(open_page(page.url))
    again.get_by_role("heading", name=re.compile(r"\d+ sentences found")).wait_for()
    traces(again, "found", 2)


@pytest.mark.timeout(600)
def test_a_ticked_sentence_shows_its_neighbours_under_each_encoder(server, open_page):
    page = ready(open_page(f"{server.url}/map"))
    table = page.get_by_test_id("stDataFrame").first
    table.scroll_into_view_if_needed()
    place = table.bounding_box()
    page.mouse.click(place["x"] + 16, place["y"] + 90)  # the second row's tick box, drawn on a canvas
    page.wait_for_url(re.compile("sentence="))
    traces(page, "neighbour lines", 2)
    page.get_by_text("are neighbours under every encoder").wait_for()
    page.get_by_role("columnheader", name="neighbour", exact=True).nth(1).wait_for()


@pytest.mark.timeout(600)
def test_a_link_to_the_page_works_as_the_first_thing_a_server_is_asked_for(fresh_server, open_page):
    page = ready(open_page(f"{fresh_server.url}/map?encoders=raw-mini"))
    page.get_by_text("Sentence pairs").wait_for()
    assert "231 sentences under raw-mini" in page.get_by_role("heading", level=1).inner_text()
