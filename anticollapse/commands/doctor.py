"""``anticollapse doctor ENCODER --pairs …``: does this encoder collapse?"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from anticollapse.commands.common import (
    add_encoder_arguments,
    add_pairs_arguments,
    add_seed_argument,
    cache_from,
    open_judged,
    pairs_from,
    progress_bar,
)
from anticollapse.commands.terminal import paragraph, print_json, table
from anticollapse.cures import split_name
from anticollapse.cures.cure import SEPARATOR
from anticollapse.data import PairSet
from anticollapse.doctor import Report, examine, judge, unknown_note
from anticollapse.wording import count

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Subparsers = Any


WRAPPED = {1: 29, 2: 33}
"""Columns of the table of measures, which with the longest name and the blanks between make a line of 100."""


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "doctor",
        help="measure the collapse of an encoder on sentence pairs",
        description="Measure the collapse of an encoder on sentence pairs: verdict, outcome, anisotropy, profile.",
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
        print_json({"verdict": judge(report).to_json(), **report.to_json(), **fit.to_json(), **notes})
    else:
        print(describe(report, pairs, notes=fit.lines, advice=advice(report, args.encoder, args.pairs)))
    return 0


def advice(report: Report, encoder: str, pairs: str) -> str:
    """What to do about it, with the command; empty where there is nothing to do.

    Args:
        report: What was found.
        encoder: As it was named.
        pairs: As they were named.
    """
    if judge(report).state not in {"collapsed", "partly collapsed"}:
        return ""
    if split_name(encoder).cure:
        return "Its cures may not fit this text: fit them on text like yours, with --fit-on FILE."
    cured = f"{encoder}{SEPARATOR}whitening"
    command = shlex.join(["anticollapse", "compare", encoder, cured, "--pairs", pairs])
    return f"Try a cure without training: {command}"


def describe(report: Report, pairs: PairSet, *, notes: Sequence[str] = (), advice: str = "") -> str:
    """The report as text, the verdict first.

    Args:
        report: What was found.
        pairs: On which set.
        notes: What else the reader must know, as sentences.
        advice: What to do about it.
    """
    diagnosis = report.diagnosis
    lines = [paragraph(judge(report).text), *([advice] if advice else []), ""]
    about = f"{count(pairs.n, 'row')}, {count(len(pairs.sentences), 'different sentence')}"
    lines.append(paragraph(f"{report.encoder} on {pairs.name}: {about}"))
    said = [*pairs.notes, *notes, *diagnosis.notes]
    cut = int(report.truncated.sum())
    if cut:
        have = "row has" if cut == 1 else "rows have"
        said.append(f"{cut:,} {have} a sentence of more than {report.max_tokens} tokens; its end was not read.")
    if note := unknown_note(report.encoder, report.unknown_share, pairs.sentences):
        said.append(note)
    lines += [paragraph(one, indent="  ") for one in said]
    rows = [[m.name, m.describe(), f"{m.unit}: {m.reads_as}"] for m in diagnosis.measures.values()]
    lines += ["", table(["measure", "value [95 % interval]", "unit: how to read it"], rows, wrap=WRAPPED)]
    if report.dim:
        lines.append(f"d is the number of dimensions of a sentence vector, here {report.dim:,}.")
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
