"""Sentence pairs as the rest of the package sees them: one frozen set, scores always on 0–5."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from anticollapse.errors import DataError, OptionError

Scale = Literal["none", "0-1", "0-5", "1-5", "0-100"]
Split = Literal["train", "dev", "test"]
OnBadRow = Literal["error", "skip"]

# Remedies name what there is on the command line as well as in the sidebar of the app.
ASSIGN = 'say which column holds what (--columns, or "Columns" in the sidebar)'


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Caps that a file must keep; all of them are settings.

    Attributes:
        max_bytes: Size of the file as it is stored.
        max_unpacked_bytes: Size of a workbook or Parquet file once it is unpacked; a small archive can hold much.
        max_rows: Rows, a header not counted.
        max_columns: Columns.
        max_cell_chars: Characters of one sentence. Delimited text has a hard cap of 131,072 of its own.

    Raises:
        OptionError: If a cap is not positive.
    """

    max_bytes: int = 256 * 2**20
    max_unpacked_bytes: int = 512 * 2**20
    max_rows: int = 1_000_000
    max_columns: int = 256
    max_cell_chars: int = 20_000

    def __post_init__(self) -> None:
        """Refuse caps that would refuse every file."""
        for name, value in vars(self).items():
            if value < 1:
                msg = f"the cap {name} is {value}"
                raise OptionError(msg, remedy="Give a number of at least 1")


@dataclass(frozen=True, kw_only=True)
class ColumnMap:
    """Which column holds what; what is left at ``None`` is recognised.

    A column is given by its name in the header (case does not matter) or by its number, the first being 1. The empty
    string means "there is no such column", for example ``ColumnMap(score="")`` to leave a label column alone.

    Attributes:
        sentence1: First (or only) sentence.
        sentence2: Second sentence.
        score: Score.
        split: ``train``, ``dev`` or ``test`` for each row.
        group: Where a row comes from (genre, domain, source, …), for colouring a figure.
        header: Whether the first row holds the names; ``None`` = recognise.
    """

    sentence1: str | int | None = None
    sentence2: str | int | None = None
    score: str | int | None = None
    split: str | int | None = None
    group: str | int | None = None
    header: bool | None = None


@dataclass(frozen=True)
class SkippedRow:
    """A row that was left out of a set.

    Attributes:
        row: Its number in the file, the first row being 1, a header counted.
        column: The column at fault, or an empty string when it is the whole row.
        reason: Why, as a clause without a full stop.
    """

    row: int
    column: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class PairSet:
    """Sentence pairs, or single sentences, exactly as they stand in their file.

    Attributes:
        name: File name or name of the source.
        sentences1: First sentences, N of them, as given (never normalised).
        sentences2: Second sentences; ``None`` for a file of single sentences.
        scores: Shape (N,), always on 0 (unrelated) to 5 (same meaning); ``None`` without labels.
        rows: Shape (N,), row numbers in the file: the first row is 1, a header counted.
        scale: The scale the file used.
        notes: What was recognised and done, in full sentences.
        skipped: Rows left out, and why.
        columns: The columns that were taken.
        available: Names (or ``column 1`` …) of all columns of the file, for assigning them anew.
        groups: Where each row comes from, when the file says so.
    """

    name: str
    sentences1: tuple[str, ...]
    sentences2: tuple[str, ...] | None
    scores: NDArray[np.float64] | None
    rows: NDArray[np.int64]
    scale: Scale = "none"
    notes: tuple[str, ...] = ()
    skipped: tuple[SkippedRow, ...] = ()
    columns: ColumnMap = field(default_factory=ColumnMap)
    available: tuple[str, ...] = ()
    groups: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Check that all parts have one length, and lock the arrays."""
        lengths = {len(self.sentences1), len(self.rows)}
        lengths |= {len(part) for part in (self.sentences2, self.scores, self.groups) if part is not None}
        if len(lengths) != 1:
            msg = f"parts of a pair set have different lengths: {sorted(lengths)}"
            raise ValueError(msg)
        for array in (self.scores, self.rows):
            if array is not None:
                array.setflags(write=False)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.sentences1)

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.sentences1)

    @property
    def has_pairs(self) -> bool:
        """Whether there are two sentences a row."""
        return self.sentences2 is not None

    @property
    def labelled(self) -> bool:
        """Whether the rows carry scores."""
        return self.scores is not None

    @cached_property
    def _positions(self) -> dict[str, int]:
        """Distinct sentences, in order of first appearance, with their positions."""
        if self.sentences2 is None:
            ordered: Iterable[str] = self.sentences1
        else:
            ordered = (text for pair in zip(self.sentences1, self.sentences2, strict=True) for text in pair)
        return {text: i for i, text in enumerate(dict.fromkeys(ordered))}

    @cached_property
    def sentences(self) -> tuple[str, ...]:
        """All distinct sentences, row by row, in order of first appearance."""
        return tuple(self._positions)

    @cached_property
    def index1(self) -> NDArray[np.int64]:
        """Shape (N,): ``sentences[index1[i]] == sentences1[i]``."""
        return _indices(self._positions, self.sentences1)

    @cached_property
    def index2(self) -> NDArray[np.int64] | None:
        """Shape (N,): ``sentences[index2[i]] == sentences2[i]``; ``None`` for single sentences."""
        return None if self.sentences2 is None else _indices(self._positions, self.sentences2)

    @cached_property
    def repeats(self) -> NDArray[np.bool_]:
        """Shape (N,): whether a row repeats an earlier one, compared with :func:`normalise`, in either order."""
        first = _normalise_all(self.sentences1)
        second = first if self.sentences2 is None else _normalise_all(self.sentences2)
        # Only rows whose hash occurs twice can be repeats; sums of hashes do not know which sentence is the first.
        sums = _hashes(first) + _hashes(second)
        _, inverse, counts = np.unique(sums, return_inverse=True, return_counts=True)
        out = np.zeros(self.n, dtype=np.bool_)
        seen: set[tuple[str, str]] = set()
        for i in np.flatnonzero(counts[inverse] > 1).tolist():
            key = (first[i], second[i]) if first[i] <= second[i] else (second[i], first[i])
            out[i] = key in seen
            seen.add(key)
        return out

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hexadecimal) of the sentences and scores: equal content, equal digest, whatever the file."""
        sha = hashlib.sha256()
        for part in (self.sentences1, self.sentences2):
            if part is None:
                sha.update(b"none")
                continue
            # The lengths keep ("ab", "c") apart from ("a", "bc").
            sha.update(np.fromiter(map(len, part), dtype="<i8", count=len(part)).tobytes())
            sha.update("".join(part).encode("utf-8"))
        sha.update(b"none" if self.scores is None else self.scores.astype("<f8").tobytes())
        return sha.hexdigest()

    def subset(self, indices: Sequence[int] | NDArray[np.integer] | NDArray[np.bool_]) -> PairSet:
        """The rows at ``indices`` (positions, or a mask of shape (N,)), in that order.

        Raises:
            IndexError: If an index is out of range or a mask has another length.
        """
        array = np.asarray(indices)
        if array.size == 0 and array.dtype != np.bool_:
            array = array.astype(np.int64)  # an empty list is float64 to NumPy
        picked = np.arange(self.n)[array]
        order = picked.tolist()
        return replace(
            self,
            sentences1=tuple(self.sentences1[i] for i in order),
            sentences2=None if self.sentences2 is None else tuple(self.sentences2[i] for i in order),
            scores=None if self.scores is None else self.scores[picked],
            rows=self.rows[picked],
            groups=None if self.groups is None else tuple(self.groups[i] for i in order),
        )

    def require_pairs(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Both sides, for what compares two sentences.

        Raises:
            DataError: If the file holds single sentences.
        """
        if self.sentences2 is None:
            msg = "there is one sentence a row, and this needs pairs"
            raise DataError(msg, where=self.name, remedy=f"Give a file with two columns of sentences, or {ASSIGN}")
        return self.sentences1, self.sentences2

    def require_scores(self) -> NDArray[np.float64]:
        """The scores on 0–5, for what needs labels.

        Raises:
            DataError: If the pairs carry none.
        """
        if self.scores is None:
            msg = "the pairs carry no scores, and this needs them"
            raise DataError(msg, where=self.name, remedy=f"Give a file with a column of scores, or {ASSIGN}")
        return self.scores


def concatenate(name: str, sets: Sequence[PairSet]) -> PairSet:
    """One set out of several of the same kind; row numbers stay those of the single files.

    Raises:
        DataError: If some are labelled or paired and others are not.
    """
    if len({(s.has_pairs, s.labelled, s.groups is not None, s.scale) for s in sets}) != 1:
        msg = "the parts differ in columns or score scale"
        raise DataError(msg, where=name, remedy="Load one part at a time")
    first = sets[0]
    return replace(
        first,
        name=name,
        sentences1=tuple(text for s in sets for text in s.sentences1),
        sentences2=None if first.sentences2 is None else tuple(text for s in sets for text in s.sentences2 or ()),
        scores=None if first.scores is None else np.concatenate([s.require_scores() for s in sets]),
        rows=np.concatenate([s.rows for s in sets]),
        notes=tuple(dict.fromkeys(note for s in sets for note in s.notes)),
        skipped=tuple(row for s in sets for row in s.skipped),
        groups=None if first.groups is None else tuple(group for s in sets for group in s.groups or ()),
    )


def normalise(text: str) -> str:
    """The form in which sentences are compared; they are never shown in it.

    Unicode NFC, then every run of whitespace becomes one space and the ends are trimmed. NFC and not NFKC: the first
    merges only what is the same text to a reader (``é`` as one code point or two), the second also merges what is not
    (``x²`` and ``x2``, ``½`` and ``1⁄2``). Case stays, for it can carry meaning (``US``, ``us``).
    """
    return " ".join(unicodedata.normalize("NFC", text).split())


_WHITESPACE = tuple(char for char in map(chr, range(0x3001)) if char.isspace() and char != " ")
_AT_ONCE = 4096


def _normalise_all(texts: Sequence[str]) -> list[str]:
    """:func:`normalise` for many texts; nearly all have that form already, which is cheaper to see of many at once."""
    out: list[str] = []
    for start in range(0, len(texts), _AT_ONCE):
        part = texts[start : start + _AT_ONCE]
        joined = "\0" + "\0".join(part) + "\0"
        plain = (
            joined.count("\0") == len(part) + 1
            and not any(folded in joined for folded in ("  ", " \0", "\0 ", *_WHITESPACE))
            and unicodedata.is_normalized("NFC", joined)
        )
        out.extend(part if plain else map(normalise, part))
    return out


def _hashes(texts: Sequence[str]) -> NDArray[np.int64]:
    return np.fromiter(map(hash, texts), dtype=np.int64, count=len(texts))


def _indices(positions: dict[str, int], texts: tuple[str, ...]) -> NDArray[np.int64]:
    return np.fromiter(map(positions.__getitem__, texts), dtype=np.int64, count=len(texts))
