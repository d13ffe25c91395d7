"""What the commands share: arguments, a progress bar, tables in a terminal."""

from __future__ import annotations

import argparse
import json
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from anticollapse.cures import open_encoder
from anticollapse.cures.text import fit_source
from anticollapse.data import load_pairs
from anticollapse.encoding import EmbeddingCache, Encoder
from anticollapse.encoding.encoder import Progress


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


def open_from(args: argparse.Namespace, pairs: str) -> Encoder:
    """The encoder of the arguments; a cure is fitted on the text that belongs to ``pairs``, never on ``pairs``."""
    with progress_bar("fitting text") as progress:
        return open_encoder(
            args.encoder,
            lambda: load_pairs(args.fit_on or fit_source(pairs)).sentences,
            device=args.device,
            precision=args.precision,
            cache=cache_from(args),
            progress=progress,
        )


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
