"""Which column holds the sentences and the scores: by the usual names, else by content."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anticollapse.data.cells import is_blank, is_number, number, shorten
from anticollapse.data.pairs import ASSIGN, ColumnMap
from anticollapse.errors import DataError

# Names are compared without case, spaces and punctuation: "Sentence_1", "sentence 1" and "SENTENCE1" are one.
PAIR_NAMES: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("sentence1", "sent1", "sen1", "s1"), ("sentence2", "sent2", "sen2", "s2")),
    (("sentencea", "senta"), ("sentenceb", "sentb")),
    (("text1", "texta"), ("text2", "textb")),
    (("premise",), ("hypothesis",)),
    (("question1", "q1"), ("question2", "q2")),
    (("string1", "1string", "phrase1"), ("string2", "2string", "phrase2")),
    (("anchor",), ("positive", "entailment")),
    (("query", "question"), ("positive", "pos", "passage", "document", "doc", "answer", "title", "response")),
    (("original", "reference"), ("paraphrase", "paraphrased", "candidate")),
    (("first", "firstsentence"), ("second", "secondsentence")),
    (("left",), ("right",)),
    (("句子1", "文本1", "句1"), ("句子2", "文本2", "句2")),
)
SINGLE_NAMES = ("sentence", "sentences", "text", "texts", "content", "utterance", "句子", "文本")
SCORE_NAMES = (
    "score", "similarity", "similarityscore", "simscore", "sim", "gold", "goldscore", "goldlabel", "relatedness",
    "relatednessscore", "stsscore", "humanscore", "rating", "grade", "scores", "label", "labels", "isduplicate",
    "isparaphrase", "duplicate", "paraphrasescore", "分数", "相似度", "标签",
)  # fmt: skip
SPLIT_NAMES = ("split", "subset", "fold", "partition", "datasplit")
GROUP_NAMES = ("group", "domain", "genre", "source", "category", "topic", "dataset")
# Only told apart from a column of text or numbers worth guessing at.
ID_NAMES = ("id", "ids", "idx", "index", "no", "nr", "row", "baseid", "pairid", "pairidentifier", "uid", "guid", "qid")

BAD_CELLS = 0.1
"""Share of a column's cells that may be no numbers where it is recognised as one of numbers."""

_WORDY = re.compile(r"\s|[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


@dataclass(frozen=True)
class Columns:
    """Positions (from 0) of the columns taken, and how they were found.

    Attributes:
        sentence1: First sentence.
        sentence2: Second sentence.
        score: Score.
        split: Split.
        group: Group.
        header: Whether the first row is a header.
        labels: Names of all columns, ``column 1`` … without a header.
        notes: Full sentences on what was recognised.
    """

    sentence1: int
    sentence2: int | None
    score: int | None
    split: int | None
    group: int | None
    header: bool
    labels: tuple[str, ...]
    notes: tuple[str, ...]

    def as_map(self) -> ColumnMap:
        """The same choice as a caller would state it: by number, so that equal names cannot confuse it."""

        def one(position: int | None) -> int | str:
            return "" if position is None else position + 1

        return ColumnMap(
            sentence1=self.sentence1 + 1,
            sentence2=one(self.sentence2),
            score=one(self.score),
            split=one(self.split),
            group=one(self.group),
            header=self.header,
        )


def key(name: object) -> str:
    """A column name as it is compared: NFKC, no case, nothing but letters and digits."""
    folded = unicodedata.normalize("NFKC", str(name)).casefold()
    return "".join(char for char in folded if char.isalnum())


_PAIR_KEYS = frozenset(name for family in PAIR_NAMES for side in family for name in side)
_ALL_KEYS = _PAIR_KEYS.union(SINGLE_NAMES, SCORE_NAMES, SPLIT_NAMES, GROUP_NAMES, ID_NAMES)


def count_known_names(record: Sequence[object]) -> int:
    """How many cells of a record are names of columns as people give them."""
    return sum(isinstance(cell, str) and key(cell) in _ALL_KEYS for cell in record)


def looks_like_header(head: Sequence[Sequence[object]]) -> bool:
    """Whether the first record holds names: known ones, or text above a column of numbers."""
    first = head[0]
    if any(is_number(cell) for cell in first):
        return False
    known = count_known_names(first)
    # In a wide table one cell may be a known word by accident; a sentence or score column among the names decides.
    if known >= 2 or (known == 1 and len(first) <= 2):
        return True
    if len(head) == 1:  # nothing below it: one name of a column, or three or more single words, are no row of sentences
        return known == 1 or (len(first) >= 3 and not any(_WORDY.search(str(cell).strip()) for cell in first))
    body = [record for record in head[1:] if len(record) == len(first)]
    if len(body) < 2:
        return False
    return any(not is_blank(first[i]) and _numbers(cells) for i, cells in enumerate(zip(*body, strict=True)))


def _numbers(cells: Sequence[object]) -> bool:
    """Whether a column holds numbers; a few bad cells ("n/a") in a longer one do not change what it is."""
    filled = [cell for cell in cells if not is_blank(cell)]
    return bool(filled) and sum(map(is_number, filled)) >= (1 - BAD_CELLS) * len(filled)


def recognise(
    head: Sequence[Sequence[object]],
    *,
    names: Sequence[str] | None,
    wanted: ColumnMap,
    where: str,
) -> Columns:
    """Find the columns of a table.

    Args:
        head: Its first records, of equal width, a header among them unless ``names`` is given.
        names: Column names where the format carries them (JSON Lines, Parquet).
        wanted: What the caller states.
        where: File name for messages.

    Raises:
        DataError: If a stated column does not exist or no column holds sentences.
    """
    header = names is None and (_has_header(head, wanted) if wanted.header is None else wanted.header)
    titles, labels = _name_columns(head, names, header=header)
    body = head[1:] if header else head
    finder = _Finder(titles=titles, labels=labels, body=body, where=where)
    score = finder.stated(wanted.score, "score")
    split = finder.stated(wanted.split, "split")
    group = finder.stated(wanted.group, "group")
    first, second = finder.sentences(wanted, taken={score, split, group})
    taken: set[int | None] = {first, second}
    score = finder.score(taken | {split, group}) if wanted.score is None else score
    split = finder.named(SPLIT_NAMES, taken | {score, group}) if wanted.split is None else split
    group = finder.named(GROUP_NAMES, taken | {score, split}) if wanted.group is None else group
    notes = _notes(labels, first, second, score, header=header, named=names is not None)
    return Columns(first, second, score, split, group, header, labels, notes + tuple(finder.notes))


def _has_header(head: Sequence[Sequence[object]], wanted: ColumnMap) -> bool:
    """As :func:`looks_like_header`; a column that is stated by a name in the first row settles it."""
    stated = (wanted.sentence1, wanted.sentence2, wanted.score, wanted.split, wanted.group)
    titles = {key(cell) for cell in head[0] if not is_blank(cell)}
    return any(isinstance(name, str) and key(name) in titles for name in stated if name) or looks_like_header(head)


def column_labels(head: Sequence[Sequence[object]], *, names: Sequence[str] | None) -> tuple[str, ...]:
    """Names of all columns as :attr:`Columns.labels`, also of a table in which no sentences are found."""
    return _name_columns(head, names, header=names is None and looks_like_header(head))[1]


def _name_columns(
    head: Sequence[Sequence[object]], names: Sequence[str] | None, *, header: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Titles (empty without a header) and labels."""
    titles = tuple(map(_title, head[0] if header else names or ()))
    return titles, tuple((titles[i] if titles else "") or f"column {i + 1}" for i in range(len(titles) or len(head[0])))


class _Finder:
    """The search for single columns in one table."""

    def __init__(
        self, *, titles: tuple[str, ...], labels: tuple[str, ...], body: Sequence[Sequence[object]], where: str
    ) -> None:
        self.keys = [key(title) for title in titles]
        self.labels = labels
        self.where = where
        self.notes: list[str] = []
        self.cells = [[record[i] for record in body if i < len(record)] for i in range(len(labels))]

    def stated(self, column: str | int | None, role: str) -> int | None:
        """The position of a column the caller stated; ``None`` for no such column or none stated."""
        if column is None or column == "":
            return None
        if isinstance(column, int):
            if 1 <= column <= len(self.labels):
                return column - 1
            msg = f"there is no column {column} for the {role}, the file has {len(self.labels)}"
            raise DataError(msg, where=self.where, remedy="Columns are counted from 1")
        for candidates, sought in ((self.labels, column), (tuple(self.keys), key(column))):
            if sought in candidates:
                return candidates.index(sought)
        shown = ", ".join(self.labels[:12]) + (", …" if len(self.labels) > 12 else "")
        msg = f"there is no column {shorten(column)} for the {role}"
        raise DataError(msg, where=self.where, remedy=f"The columns are: {shown}")

    def named(self, names: Sequence[str], taken: set[int | None]) -> int | None:
        """The first column, in the order of ``names``, that has such a name."""
        found = [self.keys.index(name) for name in names if name in self.keys]
        return next((i for i in found if i not in taken), None)

    def score(self, taken: set[int | None]) -> int | None:
        """The score column: by name, numbers before words; else the one column of numbers that can be scores."""
        found = [i for i, name in enumerate(self.keys) if name in SCORE_NAMES and i not in taken]
        found.sort(key=lambda i: SCORE_NAMES.index(self.keys[i]))
        if found:
            return next((i for i in found if self._numeric(i)), found[0])
        guesses = [i for i in range(len(self.labels)) if i not in taken and self._scorelike(i)]
        small = [i for i in guesses if max(number(c) for c in self.cells[i] if is_number(c)) <= 5]
        if self.keys and len(small) == 1:
            self.notes.append(f'"{self.labels[small[0]]}" was taken as the score because it holds small numbers.')
        elif self.keys and guesses:
            shown = " or ".join(f'"{self.labels[i]}"' for i in guesses[:3])
            self.notes.append(f"{shown} holds numbers and was not taken as the score: state the column if it is.")
        # With a header, numbers under an unknown name are scores only if nothing else could be.
        candidates = small if self.keys and len(small) == 1 else [] if self.keys else small or guesses
        return candidates[-1] if candidates else None

    def sentences(self, wanted: ColumnMap, taken: set[int | None]) -> tuple[int, int | None]:
        """Positions of the sentences: stated, by name, or by content."""
        first = self.stated(wanted.sentence1, "first sentence")
        second = self.stated(wanted.sentence2, "second sentence")
        if first is None:
            by_name = self._named_sentences(taken | {second}, single=wanted.sentence2 is not None)
            first, found = by_name or self._sentences_by_content(taken | {second}, single=wanted.sentence2 is not None)
            return first, second if wanted.sentence2 is not None else found
        if wanted.sentence2 is None:
            rest = self._named_partner(first, taken)
            second = rest if rest is not None else self._other_text(taken | {first})
        return first, second

    def _named_sentences(self, taken: set[int | None], *, single: bool) -> tuple[int, int | None] | None:
        for firsts, seconds in PAIR_NAMES:
            first, second = self.named(firsts, taken), self.named(seconds, taken)
            if first is not None and (single or second is not None):
                return first, second
        alone = self.named(SINGLE_NAMES, taken)
        if alone is not None:
            return alone, None
        half = self.named([name for firsts, _ in PAIR_NAMES for name in firsts], taken)
        # "sentence1" says that there is a second one, whatever its name.
        return None if half is None else (half, None if single else self._other_text(taken | {half}))

    def _named_partner(self, first: int, taken: set[int | None]) -> int | None:
        if not self.keys:
            return None
        for firsts, seconds in PAIR_NAMES:
            if self.keys[first] in firsts:
                return self.named(seconds, taken | {first})
        return None

    def _other_text(self, taken: set[int | None]) -> int | None:
        known = {i for i, name in enumerate(self.keys) if name in (*SPLIT_NAMES, *GROUP_NAMES, *ID_NAMES, *SCORE_NAMES)}
        return next((i for i in range(len(self.labels)) if i not in taken | known and self._wordy(i)), None)

    def _sentences_by_content(self, taken: set[int | None], *, single: bool) -> tuple[int, int | None]:
        known = {i for i, name in enumerate(self.keys) if name in (*SPLIT_NAMES, *GROUP_NAMES, *ID_NAMES, *SCORE_NAMES)}
        texts = [i for i in range(len(self.labels)) if i not in taken | known and self._textual(i)]
        if not texts:
            msg = "no column holds sentences"
            raise DataError(
                msg, where=self.where, remedy=f"Name the columns sentence1, sentence2 and score, or {ASSIGN}"
            )
        wordy = [i for i in texts if self._wordy(i) and not self._repeats(i)]
        need = 1 if single else 2
        # Not two columns that look like sentences (short words, for example): then the longest of all text columns.
        pool = wordy if len(wordy) >= need else wordy or texts if len(texts) < need else self._mixed(wordy, texts)
        best = sorted(sorted(pool, key=self._mean_length, reverse=True)[:need])
        return best[0], best[1] if len(best) > 1 else None

    def _mixed(self, wordy: list[int], texts: list[int]) -> list[int]:
        """One sentence-like column: its partner must be like it, or it stands alone."""
        if not wordy:
            return [i for i in texts if not self._repeats(i)] or texts
        length = self._mean_length(wordy[0])
        return wordy + [i for i in texts if i not in wordy and self._mean_length(i) >= 0.5 * length]

    def _filled(self, i: int) -> list[object]:
        return [cell for cell in self.cells[i] if not is_blank(cell)]

    def _numeric(self, i: int) -> bool:
        filled = self._filled(i)
        return bool(filled) and sum(map(is_number, filled)) >= 0.5 * len(filled)

    def _textual(self, i: int) -> bool:
        filled = self._filled(i)
        return not filled or sum(isinstance(c, str) and not is_number(c) for c in filled) >= 0.5 * len(filled)

    def _wordy(self, i: int) -> bool:
        filled = self._filled(i)
        hits = sum(isinstance(c, str) and not is_number(c) and bool(_WORDY.search(c.strip())) for c in filled)
        return bool(filled) and hits >= 0.5 * len(filled)

    def _repeats(self, i: int) -> bool:
        """A few values again and again: a genre or a file name, not sentences."""
        filled = self._filled(i)
        return len(filled) >= 10 and len(set(map(str, filled))) <= 0.2 * len(filled)

    def _mean_length(self, i: int) -> float:
        return float(np.mean([len(str(cell)) for cell in self._filled(i)] or [0]))

    def _scorelike(self, i: int) -> bool:
        filled = self._filled(i)
        numbers = [number(cell) for cell in filled if is_number(cell)]
        if len(numbers) < 0.8 * len(filled) or not numbers or (self.keys and self.keys[i] in ID_NAMES):
            return False
        counted = len(numbers) >= 3 and all(b - a == 1 for a, b in itertools.pairwise(numbers))
        return not counted and min(numbers) >= 0 and max(numbers) <= 100


def _title(cell: object) -> str:
    """A column name on one line, for a message as for a menu."""
    return "" if is_blank(cell) else " ".join("".join(c if c.isprintable() else " " for c in str(cell)).split())


def _notes(
    labels: tuple[str, ...], first: int, second: int | None, score: int | None, *, header: bool, named: bool
) -> tuple[str, ...]:
    rows = "" if named else "The first row holds the column names. " if header else "There is no header. "
    if second is None:
        return (f'{rows}Single sentences were read from "{labels[first]}".',)
    scores = "no column holds scores" if score is None else f'the scores from "{labels[score]}"'
    return (f'{rows}The sentences were read from "{labels[first]}" and "{labels[second]}", {scores}.',)
