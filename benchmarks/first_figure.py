"""Seconds from a cold server start to the first complete page, of a second visit, and of another person's first one.

    python benchmarks/first_figure.py [--repeats 3]

Complete means: the figure with one panel an encoder is drawn and the table of measures is there. The cache of sentence
vectors is empty at each start; the operating system's file cache is as it is. The second visit is a new tab of the same
browser; the other person's browser has nothing cached yet and loads the interface (about 10 MB of scripts) again.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


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
    chromium = shutil.which("chromium")
    for _ in range(args.repeats):
        with sync_playwright() as playwright, tempfile.TemporaryDirectory() as cache, socket.socket() as probe:
            browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
            probe.close()
            command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
            started = time.perf_counter()
            server = subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, "ANTICOLLAPSE_CACHE": cache}, stdout=subprocess.DEVNULL
            )
            try:
                wait(f"http://127.0.0.1:{port}/_stcore/health")
                size = {"width": 1440, "height": 1000}
                person = browser.new_context(viewport=size)
                visit(person, f"http://127.0.0.1:{port}")
                cold = time.perf_counter() - started
                warm = visit(person, f"http://127.0.0.1:{port}")
                other = visit(browser.new_context(viewport=size), f"http://127.0.0.1:{port}")
            finally:
                server.kill()
                server.wait()
            print(
                f"cold start to first complete page {cold:.1f} s, second visit {warm:.1f} s, "
                f"another person {other:.1f} s",
                flush=True,
            )


def wait(url: str) -> None:
    """Wait until the server answers."""
    for _ in range(600):
        try:
            urllib.request.urlopen(url, timeout=1).read()
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(url)


if __name__ == "__main__":
    main()
