"""Every training-free cure on STS-B: fitted on train, parameters chosen on dev, reported on test once.

Run: ``ANTICOLLAPSE_DATA=... python benchmarks/cures_table.py`` (prints the Markdown tables of docs/cures.md).
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import time
from dataclasses import dataclass

import numpy as np
import sentence_transformers
import torch
from numpy.typing import NDArray

from anticollapse.cures import cure_encoder
from anticollapse.cures.fitting import fit_moments
from anticollapse.data import PairSet, load_pairs
from anticollapse.encoding import EmbeddingCache, Encoder, load_encoder
from anticollapse.explain import examine_tokens
from anticollapse.measures import correlation_difference, mean_unrelated_cosine, pair_cosines, spearman
from anticollapse.measures.resampling import linked_groups

KS = (8, 16, 32, 48, 64, 96, 128, 160, 192, 224)
DS = (0, 1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 25, 30, 40, 50, 60, 80)
DROPPED = (0, 1, 2, 3, 5, 7, 10, 15, 20, 25, 30, 34, 40, 50, 60, 70, 80, 90, 100, 120, 150, 200)
SMOOTHING = ("1e-4", "3e-4", "1e-3", "3e-3", "1e-2")

ROWS: dict[str, list[str]] = {
    "centring": ["centring"],
    "standardising": ["standardising"],
    "all-but-the-top": [f"all-but-the-top:d={d}" for d in DS],
    "whitening, all directions": ["whitening:k={rank}"],
    "whitening": [f"whitening:k={k}" for k in KS],
    "SIF": [f"sif:a={a}" for a in SMOOTHING],
    "SIF weights alone": [f"sif:a={a},components=0" for a in SMOOTHING],
    "drop-frequent": [f"drop-frequent:k={k}" for k in DROPPED],
    "drop-frequent, special tokens too": [f"drop-frequent:k={k},specials=1" for k in DROPPED],
    "first-last": ["first-last:first=0", "first-last:first=1"],
    "first-last + whitening": [f"first-last:first={f}+whitening:k={k}" for f in (0, 1) for k in KS],
    "SIF weights + whitening": [
        f"sif:a={a},components=0+whitening:k={k}" for a in SMOOTHING for k in (64, 96, 128, 192)
    ],
    "first-last + SIF weights + whitening": [
        f"first-last:first={f}+sif:a={a},components=0+whitening:k={k}"
        for f in (0, 1)
        for a in ("1e-3", "3e-3", "1e-2")
        for k in (64, 96, 128, 192)
    ],
}


@dataclass(frozen=True)
class Scored:
    """One encoder on one set."""

    cosines: NDArray[np.float64]
    vectors: NDArray[np.float32]


def score(encoder: Encoder, pairs: PairSet, cache: EmbeddingCache) -> Scored:
    vectors = encoder.encode(pairs.sentences, cache=cache).vectors
    assert pairs.index2 is not None
    return Scored(pair_cosines(vectors, pairs.index1, pairs.index2), vectors)


def rank_correlation(scored: Scored, pairs: PairSet) -> float:
    """Spearman without its interval, for choosing on dev."""
    from anticollapse.measures.correlation import correlation_of

    assert pairs.scores is not None
    return 100 * correlation_of(pairs.scores, scored.cosines, "spearman")


def fitted(
    base: Encoder, name: str, text: tuple[str, ...], cache: EmbeddingCache, known: dict[str, Encoder]
) -> Encoder:
    """A cure, with what stands before its last part fitted once."""
    if name not in known:
        first, _, last = name.rpartition("+")
        start = fitted(base, first, text, cache, known) if first else base
        known[name] = cure_encoder(start, last, text, source="stsb:train", cache=cache)
    return known[name]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="raw-mini")
    parser.add_argument("--data", default="stsb")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    started = time.perf_counter()
    base, cache = load_encoder(args.encoder), EmbeddingCache()
    train, dev, test = (load_pairs(args.data, split=split) for split in ("train", "dev", "test"))
    text = train.sentences
    groups = linked_groups(len(test.sentences), test.index1, test.index2)
    raw = score(base, test, cache)
    # A LayerNorm ties the dimensions of its output to each other, so a BERT varies in one direction less than it has.
    rank = len(fit_moments(base, text, cache=cache).centred[0])
    print("| cure | chosen on dev | dev Spearman | test Spearman | over raw | mean unrelated cosine | n |")
    print("|---|---|--:|--:|--:|--:|--:|")
    known: dict[str, Encoder] = {}
    for title, names in {"raw": [""], **ROWS}.items():
        candidates = [name.replace("{rank}", str(rank)) for name in names]
        encoders = {name: fitted(base, name, text, cache, known) if name else base for name in candidates}
        on_dev = {name: rank_correlation(score(encoder, dev, cache), dev) for name, encoder in encoders.items()}
        best = max(on_dev, key=lambda name: on_dev[name])
        found = score(encoders[best], test, cache)
        outcome = spearman(test.scores, found.cosines, seed=args.seed)
        gain = correlation_difference(test.scores, found.cosines, raw.cosines, seed=args.seed)
        mean = mean_unrelated_cosine(found.vectors, groups=groups)
        bare = "–" if not best else interval(gain.value, gain.interval, "+.1f")
        print(
            f"| {title} | {f'`{best}`' if len(candidates) > 1 else '–'} | {on_dev[best]:.1f} "
            f"| {interval(outcome.value, outcome.interval, '.1f')} | {bare} "
            f"| {interval(mean.value, mean.interval, '.3f')} | {outcome.n:,} |",
            flush=True,
        )
    curves(base, dev, test, cache, args.seed)
    print()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    print(
        f"{args.encoder} (SHA-256 {base.digest[:12]}), {args.data}: fitted on {len(text):,} sentences of train, chosen "
        f"on {dev.n:,} pairs of dev, reported on {test.n:,} pairs of test; {base.device}, {base.precision}, "
        f"{torch.get_num_threads()} threads, {platform.machine()}, torch {torch.__version__}, sentence-transformers "
        f"{sentence_transformers.__version__}, commit {commit.stdout.strip() or 'unknown'}, seed {args.seed}, "
        f"{time.perf_counter() - started:.0f} s."
    )


def curves(base: Encoder, dev: PairSet, test: PairSet, cache: EmbeddingCache, seed: int) -> None:
    """The removal curves: best k of every layer on dev, and what it does on test, by each set's own frequencies."""
    on_dev = examine_tokens(base, dev, cache=cache, by_layer=True, seed=seed)
    on_test = examine_tokens(base, test, cache=cache, by_layer=True, seed=seed)
    print("\n| removal curve | best k on dev | dev Spearman, k = 0 → best | test, k = 0 → that k | gain on test "
          "| mean cosine on test |\n|---|--:|--:|--:|--:|--:|")  # fmt: skip
    titles = ["last layer", "last layer, special tokens left out"]
    titles += [f"layer {curve.layer}" for curve in on_dev.layers]
    for title, d, t in zip(titles, on_dev.curves + on_dev.layers, on_test.curves + on_test.layers, strict=True):
        k = d.best_k
        assert k is not None
        gain, row = t.gain(k, seed=seed), t.at(k)
        print(
            f"| {title} | {k} | {d.spearman[0]:.1f} → {d.spearman[d.at(k)]:.1f} "
            f"| {t.spearman[0]:.1f} → {t.spearman[row]:.1f} | {interval(gain.value, gain.interval, '+.1f')} "
            f"| {t.mean_cosine[0]:.3f} → {t.mean_cosine[row]:.3f} |"
        )
    assert on_test.use is not None
    print(
        "\n| frequency rank | types | share of the tokens | share of the vectors | dominance |\n|---|--:|--:|--:|--:|"
    )
    for band in on_test.use.bands:
        print(
            f"| {band.name} | {band.n_types:,} | {band.token_share:.1%} | {band.vector_share.value:.1%} "
            f"| {interval(band.dominance.value, band.dominance.interval, '.2f')} |"
        )
    norm = on_test.use.measures["norm_frequency"]
    print(f"\nNorm against frequency: {norm.describe()} {norm.counts}.")


def interval(value: float | None, bounds: tuple[float, float] | None, form: str) -> str:
    if value is None:
        return "–"
    text = f"{value:{form}}"
    if bounds is not None:
        text += f" [{bounds[0]:{form}}, {bounds[1]:{form}}]"
    return text.replace("-", "−")


if __name__ == "__main__":
    main()
