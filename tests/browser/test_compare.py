"""What a person does on the Compare page, and the report opened from disk with networking off."""

from __future__ import annotations

import re

import pytest

READY = "How to read this page"
THREE = "encoders=raw-mini&encoders=raw-mini%2Bwhitening&encoders=raw-mini%2Bfirst-last"

PATIENCE = 180_000


def ready(page):
    page.get_by_text(READY).wait_for(timeout=PATIENCE)
    page.locator("[data-testid='stStatusWidget']").wait_for(state="detached", timeout=PATIENCE)
    return page


def test_shows_who_is_better_and_where(server, open_page):
    page = ready(open_page(f"{server.url}/compare"))
    assert "points of Spearman" in page.get_by_role("heading", level=1).inner_text()
    page.locator(".js-plotly-plot").nth(1).locator(".subplot").nth(2).wait_for(state="attached", timeout=PATIENCE)
    page.get_by_role("table").get_by_text("Mean cosine of unrelated sentences").wait_for()
    assert page.foreign == []
    assert "Traceback" not in server.log.read_text()


def test_the_link_keeps_the_reference(server, open_page):
    page = ready(open_page(f"{server.url}/compare"))
    first = page.get_by_role("heading", level=1).inner_text()
    page.get_by_role("combobox", name="Measured against").click()
    page.get_by_role("option", name="cured-mini").click()
    page.wait_for_url(re.compile("against="))
    ready(page)
    page.wait_for_function("before => document.querySelector('h1').innerText !== before", arg=first, timeout=PATIENCE)
    turned = page.get_by_role("heading", level=1).inner_text()
    again = ready(open_page(page.url))
    assert again.get_by_role("heading", level=1).inner_text() == turned


def test_a_pair_in_dispute_is_taken_apart_on_the_tokens_page(server, open_page):
    page = ready(open_page(f"{server.url}/compare"))
    page.get_by_role("button", name="Take the first pair apart").click(timeout=PATIENCE)
    page.wait_for_url(re.compile(r"/tokens\?.*row=\d+"), timeout=PATIENCE)
    ready(page)
    page.get_by_text("One cosine, taken apart").wait_for(timeout=PATIENCE)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_serious_accessibility_problem_of_ours(server, open_page, serious, theme):
    page = ready(open_page(f"{server.url}/compare?{THREE}", theme=theme))
    assert serious(page) == []


def test_narrow_window_shows_everything(server, open_page):
    page = ready(open_page(f"{server.url}/compare?{THREE}", width=800))
    assert page.evaluate("document.documentElement.scrollWidth") <= 800


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_report_opens_from_disk_without_a_network(server, open_page, browser, serious, tmp_path, theme):
    page = ready(open_page(f"{server.url}/compare?{THREE}"))
    with page.expect_download(timeout=PATIENCE) as download:
        page.get_by_role("button", name="Report (HTML)").click(timeout=PATIENCE)
    download.value.save_as(tmp_path / "report.html")
    context = browser.new_context(viewport={"width": 1440, "height": 1000}, color_scheme=theme, offline=True)
    try:
        report = context.new_page()
        report.set_default_timeout(PATIENCE)
        asked, errors = [], []
        report.on("request", lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else asked.append(r.url))
        report.on("pageerror", lambda error: errors.append(str(error)))
        report.goto((tmp_path / "report.html").as_uri())
        report.locator(".js-plotly-plot").nth(1).locator(".bars .point").first.wait_for(state="attached")
        assert report.locator(".js-plotly-plot").count() == 2
        assert report.locator(".modebar-btn[data-title*='loud']").count() == 0
        assert "Spearman" in report.get_by_role("heading", level=1).inner_text()
        report.get_by_role("cell", name="seed of all resamples").wait_for()
        report.get_by_role("cell", name=re.compile("anticollapse compare raw-mini raw-mini.whitening")).wait_for()
        report.get_by_role("cell", name="sentence-transformers", exact=True).wait_for()
        ink = "rgb(230, 234, 240)" if theme == "dark" else "rgb(10, 14, 20)"
        # Figures follow the theme as the text does.
        report.wait_for_function("ink => getComputedStyle(document.querySelector('.xtick text')).fill === ink", arg=ink)
        assert report.evaluate("getComputedStyle(document.body).color") == ink
        assert serious(report) == []
        assert asked == []
        assert errors == []
    finally:
        context.close()
