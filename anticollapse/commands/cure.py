"""``anticollapse cure NAME ENCODER --text … --output …``: fit a training-free cure and save the encoder."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from anticollapse.commands.common import (
    ROLES,
    add_encoder_arguments,
    add_reading_arguments,
    cache_from,
    progress_bar,
    reading_from,
    writable,
)
from anticollapse.commands.doctor import Subparsers
from anticollapse.cures import CURES, cure_encoder, prescriptions, save_cured, split_name
from anticollapse.cures.card import dimensions
from anticollapse.cures.cure import SEPARATOR
from anticollapse.data import ColumnMap, Limits, load_pairs
from anticollapse.encoding import load_encoder, read_counts
from anticollapse.errors import OptionError
from anticollapse.wording import count


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    listing = "\n".join(f"  {cure.name:<16} {cure.summary}{_parameters(cure.name)}" for cure in CURES.values())
    parser = subparsers.add_parser(
        "cure",
        help="fit a training-free cure on unlabelled text and save the encoder",
        description="Fit a training-free cure on unlabelled text and save the encoder as a sentence-transformers\n"
        "folder that loads without this package.\n\ncures:\n" + listing,
        epilog="example: anticollapse cure first-last+whitening:k=128 raw-mini --text stsb:train --output cured",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "cure", metavar="NAME", help="a cure, with parameters after a colon (whitening:k=128); several joined by +"
    )
    add_encoder_arguments(parser, fit_on=False)
    parser.add_argument(
        "--text", metavar="FILE_OR_NAME", help="unlabelled text to fit on: a file, or a named set such as stsb:train"
    )
    parser.add_argument(
        "--counts",
        type=Path,
        metavar="FILE",
        help="a reference count for cures that weigh tokens, one token or word and its count a line; drop-frequent "
        "then needs no --text, sif takes the frequency of special tokens from it",
    )
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="a folder that does not exist yet")
    add_reading_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        AntiCollapseError: Whatever the user can mend.
    """
    base_name, given = split_name(args.encoder)
    name = f"{given}{SEPARATOR}{args.cure}" if given else args.cure
    needs_text = any(prescription.cure.reads_text(counted=bool(args.counts)) for prescription in prescriptions(name))
    if needs_text and not args.text:
        raise OptionError(f"{name} is fitted on text", remedy="Name it: --text FILE_OR_NAME")
    with writable(args.output):
        taken = args.output.exists() and (not args.output.is_dir() or any(args.output.iterdir()))
    if taken:
        raise OptionError(
            "there is something already", where=str(args.output), remedy="Choose a folder that does not exist"
        )
    read = load_pairs(args.text, **reading_from(args)) if needs_text else None
    text = () if read is None else read.sentences
    base = load_encoder(base_name, device=args.device, precision=args.precision)
    counts = read_counts(args.counts, base) if args.counts else None
    with progress_bar("fitting") as progress:
        cured = cure_encoder(
            base, name, text, source=args.text or "", counts=counts, cache=cache_from(args), progress=progress
        )
    save_cured(cured, args.output, command=command(args))
    fitted = f", fitted on {count(len(set(text)), 'sentence')} of {args.text}" if needs_text else ""
    fitted += f", with the counts in {args.counts}" if args.counts else ""
    for note in () if read is None else read.notes:
        print(f"  {note}", file=sys.stderr)
    print(f"{args.output}: {cured.name}, {dimensions(cured)}{fitted}", file=sys.stderr)
    return 0


def command(args: argparse.Namespace) -> str:
    """The command line that was given, for the model card: with every option that changes the vectors.

    Args:
        args: Of this command.
    """
    words = ["python", "-m", "anticollapse", "cure", args.cure, args.encoder]
    for option, value in (
        ("--text", args.text),
        ("--counts", args.counts),
        ("--columns", None if args.columns is None else _columns(args.columns)),
        ("--scale", args.scale),
        ("--on-bad-row", args.on_bad_row if args.on_bad_row != "error" else None),
        *_caps(args),
        ("--device", args.device),
        ("--precision", args.precision if args.precision != "float32" else None),
        ("--output", args.output),
    ):
        words += [] if value is None else [option, str(value)]
    return shlex.join(words).replace("\n", " ")


def _caps(args: argparse.Namespace) -> list[tuple[str, int | None]]:
    """Limits of reading that are not the default ones."""
    usual = Limits()
    given = (("--max-rows", "max_rows", usual.max_rows), ("--max-mib", "max_mib", usual.max_bytes // 2**20))
    return [(option, getattr(args, name, None)) for option, name, value in given if getattr(args, name, None) != value]


def _columns(columns: ColumnMap) -> str:
    """As :func:`~anticollapse.commands.common.column_map` reads it."""
    given = {role: getattr(columns, role) for role in ROLES}
    return ",".join(f"{role}={value}" for role, value in given.items() if value is not None)


def _parameters(name: str) -> str:
    shown = [
        f"{p.name} (default: {p.automatic if p.default is None else f'{p.default:g}'})" for p in CURES[name].parameters
    ]
    return f"\n{'':<19}Parameters: {', '.join(shown)}." if shown else ""
