"""What the commands share: arguments, encoders with what their cures were fitted on, a progress bar."""

from __future__ import annotations

import argparse
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, get_args

from tqdm import tqdm

from anticollapse.cures import Fit, open_encoder, split_name
from anticollapse.cures.text import fit_overlap, fit_sentence, fit_source, overlap_note, text_fit
from anticollapse.data import ColumnMap, Limits, OnBadRow, PairSet, Scale, load_pairs
from anticollapse.encoding import EmbeddingCache, Encoder, resolve_encoder, training_note
from anticollapse.encoding.encoder import Progress
from anticollapse.errors import OptionError
from anticollapse.wording import count

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


def add_reading_arguments(parser: argparse.ArgumentParser, title: str = "how a file is read") -> None:
    """How a file of pairs or sentences is read: :func:`reading_from` takes these options.

    Args:
        parser: Changed in place.
        title: Of the group of options.
    """
    reading = parser.add_argument_group(title)
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


def open_judged(
    args: argparse.Namespace, pairs: PairSet | None, *, name: str | None = None, use: str = ""
) -> tuple[Encoder, FitNote]:
    """An encoder of the arguments, and what its cures were fitted on.

    Cures are fitted on ``--fit-on``, else on the training text that belongs to ``--pairs``. That may be the very
    sentences they are judged on (``--pairs stsb:train``), which the note says.

    Args:
        args: With what :func:`add_encoder_arguments` and :func:`add_pairs_arguments` or :func:`add_reading_arguments`
            add.
        pairs: What it is judged on; None where nothing is judged.
        name: The encoder where it is not ``args.encoder``.
        use: What is done with the sentences instead of judging, for :func:`~anticollapse.cures.text.overlap_note`.
    """
    source = args.fit_on or fit_source(getattr(args, "pairs", "demo"), () if pairs is None else pairs.sentences)
    read: list[PairSet] = []

    def fit_text() -> Sequence[str]:
        read.append(load_pairs(source, **_fit_reading(args, source)))
        return read[0].sentences

    with progress_bar("fitting text") as progress:
        encoder = open_encoder(
            args.encoder if name is None else name,
            fit_text,
            device=args.device,
            precision=args.precision,
            source=source,
            cache=cache_from(args),
            progress=progress,
        )
    judged = () if pairs is None else pairs.sentences
    overlap = fit_overlap(read[0].sentences if read else (), judged)
    skipped = len(read[0].skipped) if read else 0
    left_out = f" {count(skipped, 'bad row')} of it {'was' if skipped == 1 else 'were'} skipped." if skipped else ""
    words = {"use": use} if use else {}
    base = split_name(args.encoder if name is None else name).base
    return encoder, FitNote(
        fitted=fit_sentence(encoder) + left_out,
        fit=text_fit(encoder),
        overlap=overlap,
        text=overlap_note(overlap, len(judged), **words),
        trained=training_note(base, resolve_encoder(base), None if use else pairs),
    )


class FitNote(NamedTuple):
    """What the cures of an encoder were fitted on, and whether they should not have been.

    Attributes:
        fitted: What they were fitted on, as a sentence; empty for an encoder without cures.
        fit: The fit on text; None without one.
        overlap: Different sentences that they were fitted on and are judged on.
        text: That as a sentence; empty when there are none.
        trained: Whether the encoder was trained on what it is judged on, as a sentence; empty when it was not.
    """

    fitted: str
    fit: Fit | None
    overlap: int
    text: str
    trained: str = ""

    @property
    def lines(self) -> list[str]:
        """What there is to say."""
        return [line for line in (self.fitted, self.text, self.trained) if line]

    def to_json(self) -> dict[str, object]:
        """Plain JSON types."""
        fit = None if self.fit is None else {"text": self.fit.source, "sentences": self.fit.n_sentences}
        return {
            "fitted_on": fit,
            "fit_overlap": self.overlap,
            "fit_note": self.text,
            "training_note": self.trained,
        }


def fit_lines(notes: Sequence[FitNote]) -> list[str]:
    """What there is to say of several encoders; what is the same for all stands once."""
    said = [[note.fitted for note in notes], [note.text for note in notes], [note.trained for note in notes]]
    return list(dict.fromkeys(line for lines in said for line in lines if line))


def _fit_reading(args: argparse.Namespace, source: str) -> dict[str, Any]:
    """How the text of a fit is read: columns and scale are of the pairs, and hold for it only if it is those."""
    reading = reading_from(args)
    if hasattr(args, "pairs") and not same_file(source, args.pairs):
        return {key: value for key, value in reading.items() if key not in {"columns", "scale"}}
    return reading


def same_file(one: str | Path, other: str | Path) -> bool:
    """Whether two names are of one file that exists."""
    try:
        return Path(one).exists() and Path(one).samefile(other)
    except (OSError, ValueError):
        return False


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
