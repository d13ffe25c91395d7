"""Seconds from a cold server start to the first complete page, of a second visit, and of another person's first one.

    python benchmarks/first_figure.py [--repeats 3]

Complete means: the figure with one panel an encoder is drawn and the table of measures is there. The cache of sentence
vectors is empty at each start; the operating system's file cache is as it is. The second visit is a new tab of the same
browser; the other person's browser has nothing cached yet and loads the interface (about 10 MB of scripts) again.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from typing import Any

from browsing import SIZE, app, chromium


def visit(person: Any, url: str) -> float:  # noqa: ANN401
    """Seconds until the page is complete."""
    started = time.perf_counter()
    page = person.new_page()
    page.goto(url)
    page.locator(".js-plotly-plot").first.locator(".subplot").nth(1).wait_for(state="attached", timeout=120_000)
    page.get_by_role("table").get_by_text("Spearman").wait_for(timeout=120_000)
    seconds = time.perf_counter() - started
    page.close()
    return seconds


def main() -> None:
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    for _ in range(args.repeats):
        with sync_playwright() as playwright, tempfile.TemporaryDirectory() as cache:
            browser = chromium(playwright)
            started = time.perf_counter()
            with app({"ANTICOLLAPSE_CACHE": cache}) as url:
                person = browser.new_context(viewport=SIZE)
                visit(person, url)
                cold = time.perf_counter() - started
                warm = visit(person, url)
                other = visit(browser.new_context(viewport=SIZE), url)
            print(
                f"cold start to first complete page {cold:.1f} s, second visit {warm:.1f} s, "
                f"another person {other:.1f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
