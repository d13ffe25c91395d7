"""Time the map: several encoders aligned, one large set beside umap-learn, and a lasso around many points in a browser.

    python benchmarks/map.py aligned        # 3 encoders × 2,000 sentences, and umap-learn's AlignedUMAP beside it
    python benchmarks/map.py one            # 10,000 sentences under one encoder, and umap-learn's defaults beside it
    python benchmarks/map.py cold           # what a first map waits for: before and after the compiled code is kept
    python benchmarks/map.py lasso          # 100,000 points: from the end of the lasso to the list of sentences

Vectors are there already, and what has to be compiled is compiled, except for ``cold``. ``stsb`` needs its files
(docs/data.md).
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from browsing import ROOT, SIZE, app, chromium

from anticollapse.cures import open_encoder
from anticollapse.data import load_pairs
from anticollapse.encoding import EmbeddingCache
from anticollapse.measures.array_cache import ArrayCache
from anticollapse.measures.projection import trustworthiness, warm_up
from anticollapse.neighbourhoods import Sample, SentenceFacts, first_picture, map_sentences

COLD = "import time; t = time.perf_counter(); from anticollapse.measures.projection import warm_up; import torch; " + (
    "u = time.perf_counter(); warm_up(); print(f'{time.perf_counter() - u:.1f} s after {u - t:.1f} s of imports')"
)


def timed(work: Callable[[], Any]) -> tuple[Any, str]:
    """A result and the time it took; on a busy machine the processor time tells what one core alone would need."""
    started, used = time.perf_counter(), time.process_time()
    found = work()
    return found, f"{time.perf_counter() - started:.1f} s (processor {time.process_time() - used:.1f} s)"


def vectors_of(names: list[str], pairs: str, n: int) -> tuple[list[Any], SentenceFacts, Sample]:
    """Vectors of the first n sentences of a set under each encoder."""
    facts = SentenceFacts.of(load_pairs(pairs))
    text = load_pairs(f"{pairs.partition(':')[0]}:train").sentences
    found = [open_encoder(name, lambda: text).encode(facts.texts, cache=EmbeddingCache()).vectors for name in names]
    if len(facts.texts) < n:
        raise SystemExit(f"{pairs} has {len(facts.texts)} sentences")
    facts = SentenceFacts(facts.texts[:n], facts.rows[:n], None, None, facts.links[:n])
    return [one[:n] for one in found], facts, Sample(np.arange(n), np.empty(0, np.int64))


def aligned(args: argparse.Namespace) -> None:
    """Several encoders."""
    names = args.encoders or ["raw-mini", "raw-mini+centring", "raw-mini+whitening"]
    vectors, facts, sample = vectors_of(names, args.pairs or "stsb:dev", args.n or 2_000)
    warm_up()
    with tempfile.TemporaryDirectory() as folder:
        cache = ArrayCache(Path(folder))
        for _ in range(args.repeat):
            _, picture = timed(lambda: first_picture(vectors, sample))
            shutil.rmtree(folder, ignore_errors=True)
            report, first = timed(lambda: map_sentences(vectors, facts, sample, cache=cache))
            _, again = timed(lambda: map_sentences(vectors, facts, sample, cache=cache))
            trust = ", ".join(f"{one.value:.3f}" for one in report.trust)
            print(
                f"{len(names)} × {len(sample.drawn):,}: PCA picture {picture}, aligned map {first}, "
                f"from the disk {again}; trustworthiness {trust}",
                flush=True,
            )
    if args.no_library:
        return
    from umap import AlignedUMAP

    relations = [{i: i for i in range(len(sample.drawn))}] * (len(names) - 1)
    for run in ("with compiling", "again"):
        model = AlignedUMAP(metric="cosine", random_state=0)
        _, seconds = timed(lambda model=model: model.fit(vectors, relations=relations))
        trust = ", ".join(
            f"{trustworthiness(one, places).value:.3f}" for one, places in zip(vectors, model.embeddings_, strict=True)
        )
        print(f"umap-learn's AlignedUMAP, {run}: {seconds}; trustworthiness {trust}", flush=True)


def one(args: argparse.Namespace) -> None:
    """One encoder, many sentences."""
    names = args.encoders or ["raw-mini"]
    vectors, facts, sample = vectors_of(names[:1], args.pairs or "stsb:train", args.n or 10_000)
    warm_up()
    for _ in range(args.repeat):
        report, seconds = timed(lambda: map_sentences(vectors, facts, sample))
        print(
            f"{names[0]} × {len(sample.drawn):,}: {seconds}; trustworthiness {report.trust[0].describe()}", flush=True
        )
    if args.no_library:
        return
    from umap import UMAP

    for run in ("with compiling", "again"):
        places, seconds = timed(lambda: UMAP(metric="cosine", random_state=0).fit_transform(vectors[0]))
        trust = trustworthiness(vectors[0], places, groups=facts.links).describe()
        print(f"umap-learn's UMAP, its defaults, {run}: {seconds}; trustworthiness {trust}", flush=True)


def cold(args: argparse.Namespace) -> None:
    """A new process, without and with compiled code on disk."""
    for _ in range(args.repeat):
        with tempfile.TemporaryDirectory() as folder:
            for label in ("nothing compiled", "compiled before"):
                env = {**os.environ, "NUMBA_CACHE_DIR": folder}
                done = subprocess.run(
                    [sys.executable, "-c", COLD], cwd=ROOT, env=env, check=True, capture_output=True, text=True
                )
                print(f"{label}: a first tiny map takes {done.stdout.strip()}", flush=True)


def made_up(n: int) -> str:
    """``n`` different sentences, a line each: beginnings of the demo's sentences with other ends."""
    texts = [text.split() for text in load_pairs("demo:train").sentences]
    rng = np.random.default_rng(0)
    found: dict[str, None] = {}
    while len(found) < n:
        a, b = rng.integers(len(texts), size=2)
        found[" ".join([*texts[a][:4], *texts[b][-4:]])] = None
    return "\n".join(found) + "\n"


def lasso(args: argparse.Namespace) -> None:
    """Many points in a browser."""
    from playwright.sync_api import sync_playwright

    n = args.n or 100_000  # one of the page's choices, written as it writes them
    (name,) = (args.encoders or ["raw-mini"])[:1]
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "lines.txt"
        file.write_text(made_up(n), encoding="utf-8")
        with app({"ANTICOLLAPSE_CACHE": args.cache or str(Path(folder) / "cache")}) as url:
            page = chromium(playwright).new_context(viewport=SIZE).new_page()
            page.set_default_timeout(3_600_000)
            page.goto(f"{url}/map?data=my+file&limit={n:,}&encoders={name}")
            page.get_by_text("Choose sentences").wait_for()
            started = time.perf_counter()
            page.locator("input[type=file]").set_input_files(file)
            page.get_by_text("How to read this page").wait_for()
            print(f"{n:,} sentences, {name}: read, encoded and arranged in {time.perf_counter() - started:.0f} s")
            for share in (0.3, 0.6, 1.0) * args.repeat:
                print(_one_lasso(page, share), flush=True)


def _one_lasso(page: Any, share: float) -> str:  # noqa: ANN401
    """Draw around a part of the map, wait for the list, and put the selection away."""
    page.locator("[data-testid='stStatusWidget']").wait_for(state="detached")
    page.wait_for_timeout(3_000)
    plot = page.locator(".js-plotly-plot").first
    plot.scroll_into_view_if_needed()
    box = plot.locator(".nsewdrag").first.bounding_box()
    left, top = box["x"] + 2, box["y"] + 2
    width, height = share * (box["width"] - 4), box["height"] - 4
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in ((0.5, 0), (1, 0), (1, 0.5), (1, 1), (0.5, 1), (0, 1), (0, 0.05)):
        page.mouse.move(left + width * x, top + height * y, steps=2)
    started = time.perf_counter()
    page.mouse.up()
    heading = page.get_by_role("heading", name=re.compile(r"selected sentences"))
    heading.wait_for()
    listed = time.perf_counter() - started
    page.locator("[data-testid='stStatusWidget']").wait_for(state="detached")
    done = time.perf_counter() - started
    count = heading.inner_text().split()[0]
    page.get_by_role("button", name="Clear the selection").click()
    heading.wait_for(state="detached")
    page.locator("[data-testid='stStatusWidget']").wait_for(state="detached")
    return f"lasso around {count} points: listed after {listed:.2f} s, page complete after {done:.2f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("aligned", "one", "cold", "lasso"))
    parser.add_argument("--encoders", nargs="+")
    parser.add_argument("--pairs", help="a named set with at least as many sentences")
    parser.add_argument("--n", type=int, help="sentences")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--no-library", action="store_true", help="ours alone")
    parser.add_argument("--cache", help="lasso: folder whose cache is used and kept")
    args = parser.parse_args()
    # numba looks for the coverage that measures tests, and must not find coverage.py beside this file.
    sys.path[:] = [place for place in sys.path if Path(place or ".").resolve() != Path(__file__).resolve().parent]
    {"aligned": aligned, "one": one, "cold": cold, "lasso": lasso}[args.what](args)
    busy = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    print(f"{os.cpu_count()} cores, {platform.machine()}, load {busy}")


if __name__ == "__main__":
    main()
