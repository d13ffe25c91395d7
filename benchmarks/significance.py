"""Seconds of the paired bootstrap: 2,000 resamples of 1,379 labelled pairs (STS-B test has as many).

    python benchmarks/significance.py [--pairs 1379] [--resamples 2000] [--repeats 5]

Beside it: the same resamples in a loop over scipy.stats.spearmanr, as most people write it (on a tenth of them, ×10).
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

import numpy as np
from scipy import stats

from anticollapse.measures import correlation_difference, spearman
from anticollapse.measures.slices import slice_results


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=1379)
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    n, resamples = args.pairs, args.resamples
    rng = np.random.default_rng(0)
    labels = np.round(rng.uniform(0, 5, n) * 5) / 5
    first, second = labels + rng.normal(size=(2, n)) * 2
    masks = [labels < 2, (labels >= 2) & (labels < 4), labels >= 4]

    def loop() -> None:
        for _ in range(resamples // 10):
            drawn = rng.integers(0, n, n)
            stats.spearmanr(labels[drawn], first[drawn])
            stats.spearmanr(labels[drawn], second[drawn])

    work: dict[str, Callable[[], object]] = {
        "Spearman with its interval": lambda: spearman(labels, first, n_resamples=resamples),
        "difference in Spearman": lambda: correlation_difference(labels, first, second, n_resamples=resamples),
        "difference in Pearson": lambda: correlation_difference(
            labels, first, second, kind="pearson", n_resamples=resamples
        ),
        "three slices of the difference": lambda: slice_results(labels, first, second, masks, n_resamples=resamples),
    }
    print(f"{n:,} pairs, {resamples:,} resamples, median of {args.repeats}; load {os.getloadavg()[0]:.1f}")
    for name, what in work.items():
        print(f"{name:32} {median_seconds(what, args.repeats):7.3f} s")
    print(f"{'difference, loop over scipy':32} {10 * median_seconds(loop, 1):7.3f} s")


if __name__ == "__main__":
    main()
