"""``anticollapse doctor ENCODER --pairs …``: does this encoder collapse?"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from anticollapse.commands.common import (
    add_encoder_arguments,
    add_pairs_arguments,
    add_seed_argument,
    cache_from,
    open_judged,
    pairs_from,
    print_json,
    progress_bar,
    table,
)
from anticollapse.data import PairSet
from anticollapse.doctor import Report, examine

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Subparsers = Any


UNKNOWN_WORTH_SAYING = 0.05


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "doctor",
        help="measure the collapse of an encoder on sentence pairs",
        description="Measure the collapse of an encoder on sentence pairs: outcome, anisotropy, label profile.",
    )
    add_encoder_arguments(parser)
    add_pairs_arguments(parser)
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
    with progress_bar("encoding") as progress:
        report = examine(encoder, pairs, cache=cache_from(args), seed=args.seed, progress=progress)
    if args.json:
        notes = {"reader_notes": list(pairs.notes), "skipped_rows": len(pairs.skipped)}
        print_json({**report.to_json(), **fit.to_json(), **notes})
    else:
        print(describe(report, pairs, note=fit.text))
    return 0


def describe(report: Report, pairs: PairSet, *, note: str = "") -> str:
    """The report as text.

    Args:
        report: What was found.
        pairs: On which set.
        note: What the reader must know first, as a sentence.
    """
    diagnosis = report.diagnosis
    lines = [f"{report.encoder} on {pairs.name}: {pairs.n:,} rows, {len(pairs.sentences):,} different sentences"]
    lines += [f"  {one}" for one in (*pairs.notes, *([note] if note else []), *diagnosis.notes)]
    cut = int(report.truncated.sum())
    if cut:
        lines.append(f"  {cut:,} rows have a sentence of more than {report.max_tokens} tokens; its end was not read.")
    if (report.unknown_share or 0) > UNKNOWN_WORTH_SAYING:
        lines.append(f"  {report.unknown_share:.0%} of the tokens are unknown to this encoder's vocabulary.")
    rows = [[m.name, m.describe(), m.unit, m.reads_as] for m in diagnosis.measures.values()]
    lines += ["", table(["measure", "value [95 % interval]", "unit", "how to read it"], rows)]
    if diagnosis.label_profile.bins:
        shown = [
            [
                f"{b.label:g}",
                f"{b.n:,}",
                *([f"{b.mean:.3f}"] if b.mean is not None else ["–"]),
                *_quantiles(b.quantiles),
            ]
            for b in diagnosis.label_profile.bins
        ]
        header = ["label", "pairs", "mean cosine", "5 %", "25 %", "50 %", "75 %", "95 %"]
        lines += ["", table(header, shown, right=range(8))]
    return "\n".join(lines)


def _quantiles(values: tuple[float, ...]) -> list[str]:
    return [f"{value:.3f}" for value in values] or ["–"] * 5
