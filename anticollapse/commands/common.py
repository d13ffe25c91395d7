"""What the commands share: arguments, a progress bar, tables in a terminal."""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, get_args

from tqdm import tqdm

from anticollapse.cures import open_encoder
from anticollapse.cures.text import fit_overlap, fit_source, overlap_note
from anticollapse.data import ColumnMap, Limits, OnBadRow, PairSet, Scale, load_pairs
from anticollapse.encoding import EmbeddingCache, Encoder
from anticollapse.encoding.encoder import Progress
from anticollapse.errors import OptionError

SCALES: tuple[Scale, ...] = get_args(Scale)
ROLES = ("sentence1", "sentence2", "score")


def add_encoder_arguments(parser: argparse.ArgumentParser, *, fit_on: bool = True) -> None:
    """``ENCODER`` and how to compute it.

    Args:
        parser: Changed in place.
        fit_on: Whether to ask for the text that a cure is fitted on.
    """
    parser.add_argument(
        "encoder", metavar="ENCODER", help="an encoder under checkpoints/, a folder, a Hub name, or ENCODER+CURE"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1 …; default: a GPU where there is one")
    parser.add_argument(
        "--precision",
        choices=("float32", "auto", "bfloat16"),
        default="float32",
        help="float32 is exact (default); auto takes bfloat16 where the hardware has it and a check passes",
    )
    if fit_on:
        parser.add_argument(
            "--fit-on",
            metavar="FILE_OR_NAME",
            help="text that a cure is fitted on; default: the training split of a named set, else of the demo pairs",
        )
    parser.add_argument("--no-cache", action="store_true", help="neither read nor write the cache of sentence vectors")


def add_pairs_arguments(parser: argparse.ArgumentParser, option: str = "--pairs", text: str = "") -> None:
    """The option that names sentence pairs, and how to read a file of them: :func:`pairs_from` takes them.

    Args:
        parser: Changed in place.
        option: The option.
        text: Its help.
    """
    text = text or "a file, or demo, stsb, stsb-zh (stsb:dev for one split)"
    parser.add_argument(option, dest="pairs", required=True, metavar="FILE_OR_NAME", help=text)
    add_reading_arguments(parser)


def add_reading_arguments(parser: argparse.ArgumentParser) -> None:
    """How a file of pairs or sentences is read: :func:`reading_from` takes these options.

    Args:
        parser: Changed in place.
    """
    reading = parser.add_argument_group("how a file is read")
    reading.add_argument(
        "--columns",
        type=column_map,
        metavar="sentence1=NAME_OR_NUMBER,sentence2=…,score=…",
        help="which column holds what, by name or by number from 1; nothing after = for no such column (score=); "
        "what is not stated is recognised",
    )
    reading.add_argument(
        "--scale", choices=SCALES, help="scale of the scores, none to leave them alone; default: recognise"
    )
    reading.add_argument(
        "--on-bad-row",
        choices=get_args(OnBadRow),
        default="error",
        help="stop at the first row that cannot be used (default), or skip such rows and count them",
    )
    caps = Limits()
    reading.add_argument(
        "--max-rows", type=int, default=caps.max_rows, metavar="N", help=f"most rows (default {caps.max_rows:,})"
    )
    reading.add_argument(
        "--max-mib",
        type=int,
        default=caps.max_bytes // 2**20,
        metavar="N",
        help=f"largest file in MiB, twice as much unpacked (default {caps.max_bytes // 2**20})",
    )


def pairs_from(args: argparse.Namespace) -> PairSet:
    """The pairs of the arguments.

    Raises:
        DataError: If they cannot be read.
        OptionError: If columns or a scale are stated for a named set.
    """
    return load_pairs(args.pairs, **reading_from(args))


def reading_from(args: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments of :func:`anticollapse.data.load_pairs` that say how a file is read."""
    size = args.max_mib * 2**20
    limits = Limits(max_rows=args.max_rows, max_bytes=size, max_unpacked_bytes=2 * size)
    return {"columns": args.columns, "scale": args.scale, "on_bad_row": args.on_bad_row, "limits": limits}


def column_map(text: str) -> ColumnMap:
    """Columns as the command line states them: ``sentence1=Satz A,sentence2=4,score=``.

    Raises:
        argparse.ArgumentTypeError: If the text is of another form.
    """
    parts = re.split(rf"(?:^|,)\s*({'|'.join(ROLES)})\s*=", text)
    found = {role: value.strip() for role, value in zip(parts[1::2], parts[2::2], strict=True)}
    if parts[0].strip() or not found or len(found) < len(parts) // 2:
        raise argparse.ArgumentTypeError(f'"{text}" is not of the form sentence1=NAME_OR_NUMBER,sentence2=…,score=…')
    columns: dict[str, str | int] = {k: int(v) if v.isdecimal() else v for k, v in found.items()}
    return ColumnMap(**columns)  # type: ignore[arg-type]  # header, which is of another type, is no role


def seed_number(text: str) -> int:
    """A seed on the command line.

    Raises:
        argparse.ArgumentTypeError: If the text is no whole number of at least 0.
    """
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise argparse.ArgumentTypeError(f'"{text}" is no whole number of at least 0')
    return int(text)


def add_seed_argument(parser: argparse.ArgumentParser) -> None:
    """``--seed``."""
    parser.add_argument("--seed", type=seed_number, default=0, help="seed of the bootstrap (default 0)")


@contextmanager
def writable(output: Path) -> Iterator[None]:
    """Turn what the file system says against a place for output into one line.

    Raises:
        OptionError: If the name is too long, a part of it is a file, the folder is not writable, …
    """
    try:
        yield
    except OSError as error:
        shown = str(output) if len(str(output)) <= 200 else f"{str(output)[:199]}…"
        raise OptionError(f"cannot be written ({error.strerror or error})", where=shown) from error


def open_from(args: argparse.Namespace, pairs: str) -> Encoder:
    """The encoder of the arguments.

    A cure is fitted on ``--fit-on``, else on the training text that belongs to ``pairs``. That may be the very
    sentences it is judged on (``--pairs stsb:train``): where that matters, use :func:`open_judged`.

    Args:
        args: With what :func:`add_encoder_arguments` adds.
        pairs: A named set, or a file.
    """
    return _open(args, pairs)[0]


def open_judged(args: argparse.Namespace, pairs: PairSet) -> tuple[Encoder, FitNote]:
    """The encoder of the arguments, and whether its cure was fitted on sentences that it is judged on.

    Args:
        args: With what :func:`add_encoder_arguments` and :func:`add_pairs_arguments` add.
        pairs: What it is judged on.
    """
    encoder, text = _open(args, args.pairs)
    overlap = fit_overlap(text, pairs.sentences)
    return encoder, FitNote(overlap, overlap_note(overlap, len(set(pairs.sentences))))


class FitNote(NamedTuple):
    """What a cure was fitted on that it should not have been.

    Attributes:
        overlap: Different sentences that it was fitted on and is judged on.
        text: As a sentence; empty when there are none.
    """

    overlap: int
    text: str

    def to_json(self) -> dict[str, object]:
        """Plain JSON types."""
        return {"fit_overlap": self.overlap, "fit_note": self.text}


def _open(args: argparse.Namespace, pairs: str) -> tuple[Encoder, Sequence[str]]:
    """The encoder, and the text that its cures were fitted on."""
    text: list[str] = []

    def read() -> Sequence[str]:
        text.extend(load_pairs(args.fit_on or fit_source(pairs)).sentences)
        return text

    with progress_bar("fitting text") as progress:
        encoder = open_encoder(
            args.encoder,
            read,
            device=args.device,
            precision=args.precision,
            cache=cache_from(args),
            progress=progress,
        )
    return encoder, text


def cache_from(args: argparse.Namespace) -> EmbeddingCache | None:
    """The cache on disk, unless it is switched off."""
    return None if args.no_cache else EmbeddingCache()


@contextmanager
def progress_bar(label: str, *, unit: str = "sentences") -> Iterator[Progress]:
    """A bar on standard error, shown only to a person (a terminal) and only when the work takes a while."""
    bar: tqdm[Any] | None = None

    def report(done: int, total: int) -> None:
        nonlocal bar
        if bar is None:
            bar = tqdm(total=total, desc=label, unit=f" {unit}", delay=1, leave=False, disable=None, file=sys.stderr)
        bar.total = total
        bar.update(done - bar.n)

    try:
        yield report
    finally:
        if bar is not None:
            bar.close()


@contextmanager
def stop_signal() -> Iterator[list[int]]:
    """A list that is no longer empty once Ctrl-C or SIGTERM came; a second Ctrl-C ends at once."""
    seen: list[int] = []

    def stop(number: int, _frame: object) -> None:
        if seen and number == signal.SIGINT:
            raise KeyboardInterrupt
        seen.append(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    print(json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False))


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """A table for a terminal; wide (Chinese, Japanese, Korean) characters count twice.

    Args:
        header: Column titles.
        rows: Cells as text.
        right: Columns that are aligned to the right.
    """
    cells = [list(header), *[list(row) for row in rows]]
    widths = [max(display_width(row[i]) for row in cells) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        parts = []
        for i, cell in enumerate(row):
            blank = " " * (widths[i] - display_width(cell))
            parts.append(blank + cell if i in right else cell + blank)
        return "  ".join(parts).rstrip()

    return "\n".join([line(cells[0]), "  ".join("-" * width for width in widths), *map(line, cells[1:])])


def display_width(text: str) -> int:
    """Columns a text takes in a terminal."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )
