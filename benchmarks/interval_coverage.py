"""Do the intervals cover, and how often are equal encoders called different? By simulation; see docs/statistics.md.

    python benchmarks/interval_coverage.py [--pairs 100 1379] [--cases 500] [--resamples 2000] [--kind spearman]

Normal pairs of known correlation: the population's Spearman is 6/π asin(ρ/2). "Equal encoders" see the same labels with
noise that is half common to both; graded labels are rounded to 0 … 5. Beside what the package does, what else was
tried.
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from anticollapse.measures.correlation import Kind, bootstrap_correlations, correlation_of, fisher_interval
from anticollapse.measures.resampling import percentile_interval
from anticollapse.measures.significance import MARGIN, standard_error, student

FloatArray = NDArray[np.float64]
RHOS = (0.3, 0.6, 0.85)
FLIPS = 1000


def population(rho: float, kind: Kind) -> float:
    return 6 / np.pi * np.arcsin(rho / 2) if kind == "spearman" else rho


def influences(labels: FloatArray, cosines: FloatArray) -> FloatArray:
    """(n,) infinitesimal jackknife of Spearman's correlation: what each pair's weight changes, divided by n."""
    q, r = (stats.rankdata(values) - (len(values) + 1) / 2 for values in (labels, cosines))
    s_xx, s_yy = (r * r).sum(), (q * q).sum()
    rho = (r * q).sum() / np.sqrt(s_xx * s_yy)
    u = r * q + above(cosines, q) + above(labels, r)
    v, w = r * r + 2 * above(cosines, r), q * q + 2 * above(labels, q)
    return np.asarray(u / np.sqrt(s_xx * s_yy) - rho / 2 * (v / s_xx + w / s_yy))


def above(values: FloatArray, weights: FloatArray) -> FloatArray:
    """(n,) sum of the weights of all larger values, and half of those of equal ones."""
    order = np.argsort(values, kind="stable")
    new = np.concatenate([[True], np.diff(values[order]) > 0])
    sums = np.bincount(np.cumsum(new) - 1, weights=weights[order])
    out = np.empty(len(values))
    out[order] = (sums.sum() - np.cumsum(sums) + 0.5 * sums)[np.cumsum(new) - 1]
    return out


def accelerated(value: float, samples: FloatArray, influence: FloatArray) -> tuple[float, float]:
    """BCa interval (Efron 1987)."""
    z0 = stats.norm.ppf(np.clip(np.mean(samples < value) + np.mean(samples == value) / 2, 1e-6, 1 - 1e-6))
    a = (influence**3).sum() / (6 * (influence**2).sum() ** 1.5)
    z = z0 + stats.norm.ppf([0.025, 0.975])
    low, high = np.quantile(samples, stats.norm.cdf(z0 + z / (1 - a * z)))
    return float(low), float(high)


def intervals_of_one(
    labels: FloatArray, cosines: FloatArray, kind: Kind, resamples: int, seed: int
) -> dict[str, tuple[float, float] | None]:
    n = len(labels)
    samples = bootstrap_correlations(labels, cosines[None], kind=kind, seed=seed, n_resamples=resamples)[:, 0]
    value = correlation_of(labels, cosines, kind)
    found: dict[str, tuple[float, float] | None] = {"package (Fisher's scale)": fisher_interval(value, samples, n)}
    found["percentile"] = percentile_interval(100 * samples)
    error = standard_error(samples, n)
    found["Student's t, no scale"] = None if error is None else student(100 * value, 100 * error / MARGIN, n - 1)[1]
    if kind == "spearman":
        low, high = accelerated(value, samples, influences(labels, cosines))
        found["BCa"] = (100 * low, 100 * high)
    return found


def verdicts_of_two(labels: FloatArray, cosines: FloatArray, kind: Kind, resamples: int, seed: int) -> dict[str, bool]:
    """Whether each test calls two encoders different at 5 %."""
    n = len(labels)
    samples = bootstrap_correlations(labels, cosines, kind=kind, seed=seed, n_resamples=resamples)
    samples = samples[:, 0] - samples[:, 1]
    one, other = (correlation_of(labels, row, kind) for row in cosines)
    value, error = one - other, standard_error(samples, n)
    found = {"package (Student's t)": error is not None and student(value, error, n - 1)[0] <= 0.05}
    found["without margin"] = error is not None and student(value, error / MARGIN, n - 1)[0] <= 0.05
    found["percentile"] = excludes(percentile_interval(samples))
    low, high = np.quantile(samples, [0.025, 0.975])
    found["basic"] = excludes((2 * value - high, 2 * value - low))
    if kind == "spearman":
        influence = influences(labels, cosines[0]) - influences(labels, cosines[1])
        found["BCa"] = excludes(accelerated(value, samples, influence))
        jackknife = float(np.sqrt((influence**2).sum() * n / (n - 1)))
        found["jackknife t"] = student(value, jackknife / MARGIN, n - 1)[0] <= 0.05
        signs = np.where(np.random.default_rng(seed).random((FLIPS, n)) < 0.5, -1.0, 1.0)
        at_least = int((np.abs(signs @ influence) >= abs(value)).sum())
        found["sign flips"] = (1 + at_least) / (1 + FLIPS) <= 0.05
    return found


def excludes(interval: tuple[float, float] | None) -> bool:
    return interval is not None and not interval[0] <= 0 <= interval[1]


def graded(latent: FloatArray) -> FloatArray:
    return np.clip(np.round(1.4 * latent + 2.2), 0, 5)


def show(title: str, hits: Counter[str], cases: int) -> None:
    print(title + "; ".join(f"{name} {100 * hits[name] / cases:.1f}" for name in hits), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, nargs="+", default=[100, 1379])
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--kind", choices=("spearman", "pearson"), default="spearman")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("coverage", "equal"))
    args = parser.parse_args()
    print(f"{args.cases:,} cases, {args.resamples:,} resamples each, {args.kind}, seed {args.seed}; numbers in %")
    for n in args.pairs:
        for rho in RHOS if args.only != "equal" else ():
            rng, hits = np.random.default_rng(args.seed), Counter[str]()
            truth = 100 * population(rho, args.kind)
            for case in range(args.cases):
                y, noise = rng.normal(size=(2, n))
                found = intervals_of_one(y, rho * y + np.sqrt(1 - rho**2) * noise, args.kind, args.resamples, case)
                hits.update({name: int(b is not None and b[0] <= truth <= b[1]) for name, b in found.items()})
            show(f"n = {n:,}, correlation {rho}: covered by ", hits, args.cases)
        for rho in RHOS if args.only != "coverage" else ():
            for grades in (False, True):
                rng, hits = np.random.default_rng(args.seed), Counter[str]()
                scale = np.sqrt((1 / rho**2 - 1) / 2)
                for case in range(args.cases):
                    y, common, *own = rng.normal(size=(4, n))
                    cosines = y + scale * (common + np.stack(own))
                    labels = graded(y) if grades else y
                    found_two = verdicts_of_two(labels, cosines, args.kind, args.resamples, case)
                    hits.update({name: int(different) for name, different in found_two.items()})
                kind = "graded labels" if grades else "labels without ties"
                show(f"n = {n:,}, equal encoders of correlation {rho}, {kind}: different by ", hits, args.cases)


if __name__ == "__main__":
    main()
