"""``anticollapse explain ENCODER "sentence one" "sentence two"``: which token pairs make this cosine?"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence

from anticollapse.commands.common import add_encoder_arguments, add_reading_arguments, cache_from, open_judged
from anticollapse.commands.doctor import Subparsers
from anticollapse.commands.terminal import display_width, print_json, table
from anticollapse.doctor import UNREADABLE, unknown_note, unknown_share
from anticollapse.errors import OptionError
from anticollapse.explain import PairExplanation, explain_pair
from anticollapse.measures.attribution import Attribution

STRONGEST = 10


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "explain",
        help="show which token pairs make the cosine of two sentences",
        description="Show the cosine of two sentences as an exact sum over their token pairs.",
    )
    add_encoder_arguments(parser)
    parser.add_argument("sentence1", metavar="SENTENCE", help="first sentence")
    parser.add_argument("sentence2", metavar="SENTENCE", help="second sentence")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    add_reading_arguments(parser, "how the file of --fit-on is read")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        AntiCollapseError: Whatever the user can mend.
    """
    for place, sentence in (("first", args.sentence1), ("second", args.sentence2)):
        if not sentence.strip():
            raise OptionError(f"the {place} sentence is empty", remedy="Give two sentences, each in quotation marks")
    encoder, fit = open_judged(args, None)
    explanation = explain_pair(encoder, args.sentence1, args.sentence2, cache=cache_from(args))
    both = (args.sentence1, args.sentence2)
    share = unknown_share(encoder, both) or 0
    # One unknown word of a pair is seen in the matrix.
    unknown = unknown_note(encoder.name, share, both) if share > UNREADABLE else ""
    if args.json:
        print_json({**explanation.to_json(), "fitted_on": fit.to_json()["fitted_on"]})
    else:
        print(describe(explanation, width=shutil.get_terminal_size((120, 24)).columns, notes=[unknown, *fit.lines]))
    return 0


def describe(explanation: PairExplanation, *, width: int = 120, notes: Sequence[str] = ()) -> str:
    """The explanation as text.

    Args:
        explanation: What was found.
        width: Columns of the terminal.
        notes: What else the reader must know, as sentences.
    """
    cosine = "undefined" if explanation.cosine is None else f"{explanation.cosine:.4f}"
    lines = [f"{explanation.encoder}: cosine {cosine}"]
    lines += [f"  {note}" for note in (*notes, explanation.cut_note) if note]
    found = explanation.attribution
    if found is None:
        return "\n".join([*lines, f"No explanation by tokens: {explanation.obstacle}."])
    lines += [
        f"  sum over {found.matrix.shape[0]} × {found.matrix.shape[1]} token pairs: {found.matrix.sum():.4f}, "
        f"of which pairs with a special token: {found.special_sum:.4f}",
        "",
        "Contributions × 1000 (rows: first sentence, columns: second; the last column is the row's sum)",
        *_matrix(found, width),
        "",
        "Strongest token pairs",
        table(
            ["first", "second", "contribution", *(["of the cosine"] if found.has_shares else [])],
            [
                [
                    pair.token1,
                    pair.token2,
                    f"{pair.contribution:.4f}",
                    *([f"{pair.contribution / found.matrix.sum():.1%}"] if found.has_shares else []),
                ]
                for pair in found.strongest(STRONGEST)
            ],
            right=(2, 3) if found.has_shares else (2,),
        ),
    ]
    return "\n".join(lines)


def _matrix(found: Attribution, width: int) -> list[str]:
    """The matrix in blocks of columns that fit the terminal."""
    cells = [[f"{1000 * value:.0f}" for value in row] for row in found.matrix]
    sums = [f"{1000 * value:.0f}" for value in found.matrix.sum(axis=1)]
    first = max(display_width(token) for token in found.tokens1)
    widths = [2 + max(display_width(token), *(len(row[j]) for row in cells)) for j, token in enumerate(found.tokens2)]
    lines: list[str] = []
    start = 0
    while start < len(widths):
        stop, used = start, first + 8
        while stop < len(widths) and (stop == start or used + widths[stop] <= width):
            used += widths[stop]
            stop += 1
        last = stop == len(widths)
        header = ["", *found.tokens2[start:stop], *(["sum"] if last else [])]
        rows = [[token, *cells[i][start:stop], *([sums[i]] if last else [])] for i, token in enumerate(found.tokens1)]
        lines += [*([""] if lines else []), table(header, rows, right=range(1, len(header)))]
        start = stop
    return lines
