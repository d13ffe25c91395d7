"""Text files: one paragraph or sentence a line, plain or compressed; which lines are held out."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np

from anticollapse.errors import DataError

OPENERS: dict[str, Callable[..., Any]] = {".xz": lzma.open, ".gz": gzip.open, ".bz2": bz2.open}
HELD_OUT_SHARE = 1 / 500
HELD_OUT_LINES = 100
"""At least about so many lines are held out, but never more than a tenth of the text."""


def read_lines(files: Sequence[Path]) -> list[str]:
    """All lines with something in them, white space made single.

    Args:
        files: UTF-8, one paragraph or sentence a line; ``.xz``, ``.gz`` and ``.bz2`` are opened.

    Raises:
        DataError: If a file cannot be read, is not UTF-8, or there is no text in any of them.
    """
    lines = [line for file in files for line in _lines_of(file)]
    if not lines:
        raise DataError("there is no text", where=", ".join(map(str, files)))
    return lines


def first_lines(files: Sequence[Path], most: int = 200) -> list[str]:
    """The first lines of the first file, as :func:`read_lines` gives them.

    Args:
        files: As there.
        most: Lines at most.

    Raises:
        DataError: As there.
    """
    return list(islice(_lines_of(files[0]), most)) if files else []


def _lines_of(file: Path) -> Iterator[str]:
    try:
        with _open(file) as stream:
            for number, raw in enumerate(stream, start=1):
                try:
                    line = " ".join(raw.decode("utf-8").split())
                except UnicodeDecodeError as error:
                    where = f"{file}, line {number:,}"
                    raise DataError("the text is not UTF-8", where=where, remedy="Convert it to UTF-8") from error
                if line:
                    yield line
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"the text cannot be read ({reason})", where=str(file)) from error


def _open(file: Path) -> IO[bytes]:
    opener = OPENERS.get(file.suffix)
    stream: IO[bytes] = opener(file, "rb") if opener else file.open("rb")
    return stream


def hold_out(lines: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split text into lines to train on and lines to measure on.

    A line goes where its checksum says, so a line that occurs twice is never on both sides, and the same line is held
    out whatever files it comes with (as long as both texts are large).

    Args:
        lines: All lines.

    Returns:
        The lines to train on, and the held-out ones.

    Raises:
        DataError: If the text is too short to hold anything out.
    """
    share = max(HELD_OUT_SHARE, min(0.1, HELD_OUT_LINES / len(lines)))
    limit = int(share * 2**32)
    train: list[str] = []
    held: list[str] = []
    for line in lines:
        (held if zlib.crc32(line.encode()) < limit else train).append(line)
    if not train or not held:
        raise DataError(
            f"{len(set(lines)):,} different lines are too few to train on some and measure on others",
            remedy="Give some dozens at least",
        )
    return train, held


def sample(lines: Sequence[str], share: float, seed: int) -> list[str]:
    """A random part of the lines, in their order.

    Args:
        lines: All lines.
        share: How much, 0 to 1.
        seed: Which ones.
    """
    if share >= 1:
        return list(lines)
    chosen = np.random.default_rng([seed, 2]).random(len(lines)) < share
    return [line for line, take in zip(lines, chosen, strict=True) if take]
