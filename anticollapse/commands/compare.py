"""``anticollapse compare ENCODER ENCODER … --pairs …``: which encoder is better, by how much, and is it real?"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from anticollapse.commands.common import (
    FitNote,
    add_encoder_arguments,
    add_pairs_arguments,
    add_seed_argument,
    cache_from,
    fit_lines,
    open_judged,
    pairs_from,
    progress_bar,
    writable,
)
from anticollapse.commands.doctor import Subparsers
from anticollapse.commands.terminal import print_json, table
from anticollapse.compare import SLICE_TITLES, Comparison, compare, disagreements, slices
from anticollapse.compare_tables import correction, difference_text, finding, share, value_text
from anticollapse.doctor import Report, examine
from anticollapse.encoding import Encoder
from anticollapse.errors import OptionError
from anticollapse.report import comparison_report, write_report
from anticollapse.wording import count

MOST_ENCODERS = 8
SHOWN_PAIRS = 10


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "compare",
        help="which encoder is better on sentence pairs, by how much, and is it real",
        description="Compare encoders on the same sentence pairs: every measure, paired differences to one of them "
        "with 95 % intervals, verdicts corrected for the number of comparisons, where the difference comes from, and "
        "the pairs on which they disagree most.",
    )
    add_encoder_arguments(parser)
    parser.add_argument("others", nargs="*", metavar="ENCODER", help="further encoders")
    add_pairs_arguments(parser)
    parser.add_argument(
        "--reference", metavar="NAME", help="the encoder that the others are measured against (default: the first)"
    )
    add_seed_argument(parser)
    parser.add_argument(
        "--report", type=Path, metavar="FILE.html", help="also write everything as one page that needs no network"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        AntiCollapseError: Whatever the user can mend.
    """
    names = list(dict.fromkeys([args.encoder, *args.others]))
    reference = _check(args, names)
    pairs = pairs_from(args)
    reports: list[Report] = []
    encoders: list[Encoder] = []
    fits: list[FitNote] = []
    for name in names:
        encoder, fit = open_judged(args, pairs, name=name)
        encoders.append(encoder)
        fits.append(fit)
        with progress_bar(f"encoding with {name}") as progress:
            reports.append(examine(encoder, pairs, cache=cache_from(args), seed=args.seed, progress=progress))
    comparison = compare(reports, pairs, names=names, reference=reference, seed=args.seed)
    comparison = replace(comparison, notes=(*fit_lines(fits), *comparison.notes))
    if args.report is not None:
        parameters = {
            "device": ", ".join(sorted({f"{encoder.device}, {encoder.precision}" for encoder in encoders})),
            **({"how the file was read": " ".join(pairs.notes)} if pairs.notes else {}),
        }
        write_report(args.report, comparison_report(comparison, command=_command(), parameters=parameters))
        print(f"{args.report}: written", file=sys.stderr)
    if args.json:
        print_json(to_json(comparison, fits))
    else:
        print(describe(comparison))
    return 0


def to_json(comparison: Comparison, fits: Sequence[FitNote]) -> dict[str, object]:
    """Everything as plain JSON types.

    Args:
        comparison: The comparison.
        fits: What the cures of each encoder were fitted on.
    """
    made = comparison.to_json()
    encoders = [{**encoder, **fit.to_json()} for encoder, fit in zip(made["encoders"], fits, strict=True)]
    return {
        "finding": finding(comparison),
        **made,
        "encoders": encoders,
        "reader_notes": list(comparison.pairs.notes),
        "skipped_rows": len(comparison.pairs.skipped),
        "slices": {comparison.names[i]: [one.to_json() for one in slices(comparison, i)] for i in comparison.others},
        "disagreements": {
            comparison.names[i]: [vars(one) for one in disagreements(comparison, i)] for i in comparison.others
        },
    }


def describe(comparison: Comparison) -> str:
    """The comparison as text.

    Args:
        comparison: The comparison.
    """
    pairs = comparison.pairs
    about = f"{pairs.name}: {count(pairs.n, 'row')}, {len(comparison.used):,} compared"
    lines = [f"{finding(comparison)}.", *(f"  {line}" for line in (about, *pairs.notes, *comparison.notes))]
    order = [comparison.reference, *comparison.others]
    header = ["measure", *(comparison.names[i] for i in order)]
    rows = []
    for key, measure in comparison.encoders[comparison.reference].report.diagnosis.measures.items():
        rows.append([measure.name, *(value_text(comparison.encoders[i].report.diagnosis.measures[key]) for i in order)])
    lines += ["", table(header, rows)]
    if comparison.others:
        lines += ["", f"Differences to {comparison.names[comparison.reference]}:"]
        lines += ["", table(["encoder", "measure", "difference", "verdict"], _verdict_rows(comparison))]
        lines += ["", correction(comparison)]
        if len(comparison.others) > 1:
            name = comparison.names[comparison.reference]
            lines.append(f"All differences are to {name}; --reference names another, with a correction of its own.")
    for i in comparison.others:
        lines += [*_where(comparison, i), *_disputed(comparison, i)]
    return "\n".join(lines)


def _verdict_rows(comparison: Comparison) -> list[list[str]]:
    rows = []
    for i in comparison.others:
        encoder = comparison.encoders[i]
        for key, difference in encoder.differences.items():
            verdict = encoder.verdicts.get(key)
            name = encoder.report.diagnosis.measures[key].name
            shown = "" if verdict is None else verdict.text.replace(f": {difference_text(difference)}", "")
            rows.append([encoder.name, name, difference_text(difference).partition(" (no interval")[0], shown])
    return rows


def _where(comparison: Comparison, encoder: int) -> list[str]:
    found = slices(comparison, encoder)
    if not found:
        return []
    name, reference = comparison.names[encoder], comparison.names[comparison.reference]
    rows = [
        [
            SLICE_TITLES[one.by],
            one.name,
            f"{one.result.n:,}",
            difference_text(one.result.contribution),
            share(one.result.won),
            share(one.result.lost),
        ]
        for one in found
    ]
    header = ["cut by", "slice", "pairs", "part of the difference", "closer to people", "farther"]
    lines = ["", f"Where {name} differs from {reference} (the parts of one kind sum to the difference in Spearman):"]
    return [*lines, "", table(header, rows, right=range(2, 6))]


def _disputed(comparison: Comparison, encoder: int) -> list[str]:
    """The pairs on which two encoders disagree most, which needs no labels."""
    name, reference = comparison.names[encoder], comparison.names[comparison.reference]
    pairs = comparison.pairs
    shown = [
        [
            str(one.row),
            f"{one.reference_rank:.0f}",
            f"{one.rank:.0f}",
            "–" if one.label_rank is None else f"{one.label_rank:.0f}",
            _short(pairs.sentences1[one.position]),
            _short((pairs.sentences2 or pairs.sentences1)[one.position]),
        ]
        for one in disagreements(comparison, encoder, top=SHOWN_PAIRS)
    ]
    if len(comparison.used) < 2:
        return []
    if not shown:
        return ["", f"{name} and {reference} put all pairs in the same order."]
    title = f"Pairs on which {name} and {reference} disagree most (place from 0, least similar, to 100):"
    header = ["row", reference, name, "people", "sentence 1", "sentence 2"]
    return ["", title, "", table(header, shown, right=range(4))]


def _check(args: argparse.Namespace, names: list[str]) -> int:
    """Position of the reference; refuses what cannot work before any work is done."""
    if len(names) > MOST_ENCODERS:
        raise OptionError(f"{len(names)} encoders are too many", remedy=f"Choose at most {MOST_ENCODERS}")
    reference = args.reference or names[0]
    if reference not in names:
        raise OptionError(
            f'"{reference}" is none of the encoders', where="--reference", remedy=f"Choose one of {', '.join(names)}"
        )
    output: Path | None = args.report
    if output is not None:
        with writable(output):
            if output.suffix.lower() not in {".html", ".htm"}:
                raise OptionError("the report is an HTML page", where=str(output), remedy="Use the ending .html")
            if not output.parent.is_dir():
                raise OptionError("the folder does not exist", where=str(output.parent), remedy="Make it first")
            if output.is_dir() or (output.exists() and Path(args.pairs).exists() and output.samefile(args.pairs)):
                raise OptionError("is a folder, or the input itself", where=str(output), remedy="Give another --report")
    return names.index(reference)


def _command() -> str:
    return shlex.join(["anticollapse", *sys.argv[1:]])


def _short(text: str, length: int = 48) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1]}…"
