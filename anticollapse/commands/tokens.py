"""``anticollapse tokens ENCODER --pairs …``: which tokens make the sentence vectors?"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from anticollapse.commands.common import (
    add_encoder_arguments,
    add_pairs_arguments,
    add_seed_argument,
    cache_from,
    open_judged,
    pairs_from,
    progress_bar,
)
from anticollapse.commands.doctor import Subparsers
from anticollapse.commands.terminal import print_json, table
from anticollapse.data import PairSet
from anticollapse.encoding import read_counts
from anticollapse.explain import TokenReport, examine_tokens
from anticollapse.measures.removal import RemovalCurve
from anticollapse.measures.tokens import TokenUse
from anticollapse.measures.verdict import describe_difference
from anticollapse.wording import count

SHOWN_KS = (0, 5, 10, 20, 34, 50, 100, 150, 200)


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "tokens",
        help="find out which tokens make the sentence vectors, and what leaving the frequent ones out does",
        description="Share of the sentence vectors by token frequency, the most dominant tokens, and Spearman and mean "
        "cosine as the k most frequent tokens leave the mean.",
    )
    add_encoder_arguments(parser)
    add_pairs_arguments(parser)
    parser.add_argument(
        "--counts",
        type=Path,
        metavar="FILE",
        help="a reference count, one token or word and its count a line; default: frequencies in the pairs themselves",
    )
    parser.add_argument("--by-layer", action="store_true", help="also the removal curve of every layer")
    parser.add_argument("--top", type=int, default=20, help="how many dominant tokens are listed (default 20)")
    add_seed_argument(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        AntiCollapseError: Whatever the user can mend.
    """
    pairs = pairs_from(args)
    encoder, fit = open_judged(args, pairs)
    counts = read_counts(args.counts, encoder) if args.counts else None
    with progress_bar("token vectors") as progress:
        report = examine_tokens(
            encoder,
            pairs,
            counts=counts,
            by_layer=args.by_layer,
            cache=cache_from(args),
            seed=args.seed,
            progress=progress,
        )
    if args.json:
        found = report.to_json(top=args.top)
        print_json({**found, **fit.to_json(), "reader_notes": list(pairs.notes), "skipped_rows": len(pairs.skipped)})
    else:
        print(describe(report, pairs, top=args.top, seed=args.seed, notes=fit.lines))
    return 0


def describe(report: TokenReport, pairs: PairSet, *, top: int = 20, seed: int = 0, notes: Sequence[str] = ()) -> str:
    """The report as text.

    Args:
        report: What was found.
        pairs: On which set.
        top: How many dominant tokens are listed.
        seed: Seed of the bootstrap of the gain.
        notes: What else the reader must know, as sentences.
    """
    about = f"{count(pairs.n, 'row')}, {count(len(pairs.sentences), 'different sentence')}"
    lines = [f"{report.encoder} on {pairs.name}: {about}"]
    lines += [f"  {one}" for one in (*pairs.notes, *notes)]
    lines += _describe_use(report.use, top) if report.use else ["", f"No contributions: {report.use_obstacle}."]
    if report.curve_obstacle:
        lines += ["", f"No removal curve: {report.curve_obstacle}."]
    lines += ["", report.curve_note] if report.curve_note else []
    for curve in report.curves:
        lines += ["", *_describe_curve(curve, seed)]
    if report.layers:
        lines += ["", "By layer (0 is the embeddings), special tokens in the mean", _layers(report.layers)]
    mean, rogue = report.anisotropy.mean_cosine, report.anisotropy.rogue
    lines += [
        "",
        "Anisotropy (a common direction of all sentences) is another matter than frequent tokens",
        f"  {mean.name}: {mean.describe()}",
        f"  {rogue.name}: {rogue.describe()}",
        *[f"  {_moved(curve)}" for curve in report.curves],
    ]
    return "\n".join(lines)


def _describe_use(use: TokenUse, top: int) -> list[str]:
    bands = [
        [
            band.name,
            f"{band.n_types:,}",
            f"{band.n_tokens:,}",
            f"{band.token_share:.1%}",
            "–" if band.vector_share.value is None else f"{band.vector_share.value:.1%}",
            band.dominance.describe().partition(", n =")[0],
        ]
        for band in use.bands
    ]
    types = use.types
    rows = [
        [
            types.labels[i],
            "special" if types.special[i] else f"{types.rank[i]:,}" if types.frequency[i] else "–",
            f"{types.counts[i]:,}",
            f"{types.token_share[i]:.2%}",
            f"{types.vector_share[i]:.2%}",
            f"{types.dominance[i]:.2f}",
            f"{types.norm[i]:.1f}",
        ]
        for i in types.most_dominant(top)
    ]
    return [
        *[f"  {note}" for note in use.notes],
        "",
        table(
            ["frequency rank", "types", "tokens", "of the tokens", "of the vectors", "dominance [95 % interval]"],
            bands,
            right=range(1, 5),
        ),
        "",
        "Tokens with the largest share of the vectors beyond their share of the tokens",
        table(
            ["token", "rank", "occurrences", "of the tokens", "of the vectors", "dominance", "norm"],
            rows,
            right=range(1, 7),
        ),
        "",
        *[f"{measure.name}: {measure.describe()} ({measure.reads_as})" for measure in use.measures.values()],
    ]


def _describe_curve(curve: RemovalCurve, seed: int) -> list[str]:
    title = "special tokens left out too" if curve.without_specials else "special tokens in the mean"
    best = curve.best_k
    ks = sorted({k for k in SHOWN_KS if k in curve.ks} | {int(curve.ks[-1])} | ({best} if best is not None else set()))
    rows = [
        [
            f"{k:,}",
            f"{curve.spearman[i]:.2f}" if curve.spearman[i] == curve.spearman[i] else "–",
            f"{curve.mean_cosine[i]:.3f}" if curve.mean_cosine[i] == curve.mean_cosine[i] else "–",
            f"{curve.tokens_left[i]:.1%}",
            f"{curve.emptied[i]:,}",
        ]
        for k in ks
        for i in [curve.at(k)]
    ]
    lines = [
        f"The k most frequent tokens left out of the mean, {title}",
        table(["k", "Spearman", "mean unrelated cosine", "tokens left", "sentences emptied"], rows, right=range(5)),
    ]
    if best is None:
        return [*lines, f"No Spearman: {curve.undefined}."]
    gain = curve.gain(best, seed=seed)
    return [*lines, f"Best k on these very pairs: {best}, {describe_difference(gain)} points above the smallest k."]


def _moved(curve: RemovalCurve) -> str:
    """How far leaving tokens out moves the common direction."""
    start, end = curve.mean_cosine[0], curve.mean_cosine[-1]
    tokens = "the special tokens and the" if curve.without_specials else "the"
    return f"Without {tokens} {curve.ks[-1]} most frequent tokens the mean cosine is {end:.3f} (k = 0: {start:.3f})"


def _layers(curves: tuple[RemovalCurve, ...]) -> str:
    rows = []
    for curve in curves:
        best = curve.best_k
        shown = ["–", "–"] if best is None else [f"{best}", f"{curve.spearman[curve.at(best)]:.2f}"]
        rows.append([f"{curve.layer}", f"{curve.spearman[0]:.2f}", f"{curve.mean_cosine[0]:.3f}", *shown])
    return table(["layer", "Spearman, k = 0", "mean unrelated cosine", "best k", "its Spearman"], rows, right=range(5))
