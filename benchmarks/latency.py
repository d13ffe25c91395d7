"""Seconds until the page answers a widget, with and without a training in the background.

    python benchmarks/latency.py [--clicks 20]

The widget is "Worst under" of the Collapse page on the demo pairs: each click runs the sidebar, the strip and the whole
page again. It has answered when the table of the worst pairs is another one (its element is named after its pairs, so
only the new run of the script can have drawn it), nothing on the page is stale, and the script has come to its end. The
training is an ordinary run (sbert from raw-mini, batch 32) with the threads that a run gets by default.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from browsing import ROOT, SIZE, app, chromium

TABLE = """[...document.querySelectorAll('[class*=st-key-pair_table_]')]
    .map(one => one.className.match(/pair_table_\\w+/)[0])"""
ANSWERED = f"""before => {{
    const tables = {TABLE};
    return tables.length === 1 && tables[0] !== before
        && document.querySelectorAll('[data-stale=true]').length === 0
        && document.querySelector('.stApp').dataset.testScriptState === 'notRunning';
}}"""
NAMES = ("raw-mini+centring", "raw-mini")


def clicks(page: Any, number: int) -> list[float]:  # noqa: ANN401
    """Seconds to each answer."""
    group = page.get_by_role("radiogroup", name="Worst under")
    seconds = []
    for i in range(number):
        (before,) = page.evaluate(TABLE)
        began = time.perf_counter()
        group.get_by_role("radio", name=NAMES[i % 2], exact=True).click()
        page.wait_for_function(ANSWERED, arg=before, polling=20)
        seconds.append(time.perf_counter() - began)
    return seconds


def report(what: str, seconds: list[float]) -> None:
    ordered = sorted(seconds)
    tenth = ordered[int(0.9 * (len(ordered) - 1))]
    load = "/".join(f"{value:.1f}" for value in os.getloadavg())
    print(
        f"{what}: median {statistics.median(seconds):.2f} s, nine in ten within {tenth:.2f} s "
        f"({len(seconds)} clicks; load {load} on {len(os.sched_getaffinity(0))} cores)",
        flush=True,
    )


def main() -> None:
    from playwright.sync_api import sync_playwright

    from anticollapse import runs
    from anticollapse.data import load_pairs
    from anticollapse.training import TrainingOptions

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clicks", type=int, default=20)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        root = Path(place) / "checkpoints"
        shutil.copytree(ROOT / "checkpoints" / "raw-mini", root / "raw-mini")
        os.environ |= {"ANTICOLLAPSE_CHECKPOINTS": str(root), "ANTICOLLAPSE_CACHE": f"{place}/cache"}
        run = None
        with app({}) as url:
            try:
                page = chromium(playwright).new_context(viewport=SIZE).new_page()
                page.set_default_timeout(300_000)
                page.goto(url)
                page.get_by_text("How to read this page").wait_for()
                clicks(page, 4)  # the first ones load what the later ones find
                report("nothing else going on", clicks(page, args.clicks))
                train, dev = (load_pairs("demo", split=split) for split in ("train", "dev"))
                run = runs.start(
                    "sbert", "raw-mini", train, dev=dev, options=TrainingOptions(steps=100_000, patience=0)
                )
                page.get_by_test_id("stProgress").filter(has_text="step").wait_for()
                before = runs.get(run.id).progress["step"]
                report("while a training runs", clicks(page, args.clicks))
                now = runs.get(run.id)
                print(f"the training did {now.progress['step'] - before} steps meanwhile, with {now.threads} threads")
            finally:
                if run is not None:
                    runs.stop(run.id, wait=True)


if __name__ == "__main__":
    main()
