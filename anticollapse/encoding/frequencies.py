"""How often each token occurs: in the user's own sentences, or in an attached reference count."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anticollapse.encoding.encoder import CHUNK, Cancelled, Encoder, Progress
from anticollapse.encoding.readable import TokenStyle, style_of
from anticollapse.encoding.tokens import special_ids, unpooled_start
from anticollapse.errors import CancelledError, DataError, EncoderError

MAX_COUNT_BYTES = 64 * 2**20
"""Largest reference count file that is read."""

WORD_MARKS: Mapping[TokenStyle, str] = {"sentencepiece": "▁", "byte-level": "Ġ"}
"""What tokenizers that mark the start of a word write before it."""

_LINE = re.compile(r"(\S.*?)[\t ,;]+(\d{1,18})")
_GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+")
_TWO_WAYS = re.compile(r"\S.*?(?:[ ,;]+[1-9]\d{0,2}(?:,\d{3})+|[ ;]+[1-9]\d{0,2}(?: \d{3})+)")
"""The end of "the 1,234": "the" 1,234 times, or "the 1" 234 times."""


@dataclass(frozen=True)
class TokenCounts:
    """Token frequencies of one tokenizer.

    Attributes:
        counts: ``(V,)`` occurrences of each token id.
        special: ``(V,)`` whether the id is one of the tokenizer's own ([CLS], [SEP], …).
        vocabulary: Token strings by id.
        n_sentences: Sentences counted; 0 for a reference count.
        source: Where the counts come from, to complete "counted in ...".
        unmatched: Lines of a reference count that gave no token.
        special_share: ``(V,)`` share of special tokens in all tokens where ``counts`` holds none of them (see
            :meth:`with_special_share`), or None.
        digest: SHA-256 of the file of a reference count; empty for counts of text.
    """

    counts: NDArray[np.int64]
    special: NDArray[np.bool_]
    vocabulary: tuple[str, ...]
    n_sentences: int
    source: str
    unmatched: int = 0
    special_share: NDArray[np.float64] | None = field(default=None, repr=False)
    digest: str = ""

    @property
    def total(self) -> int:
        """Tokens counted, special ones included."""
        return int(self.counts.sum())

    @cached_property
    def ranking(self) -> NDArray[np.int64]:
        """Ids that occur, most frequent first, without special tokens; equal counts in the order of ids."""
        order = np.argsort(-self.counts, kind="stable")
        return order[(self.counts[order] > 0) & ~self.special[order]]

    @cached_property
    def ranks(self) -> NDArray[np.int64]:
        """``(V,)`` rank by frequency from 1; 0 for special tokens, and a last shared rank for ids that never occur.

        How rare those are nobody knows: ask :attr:`unseen` before a rank is taken for a frequency.
        """
        ranks = np.full(len(self.counts), len(self.ranking) + 1, np.int64)
        ranks[self.ranking] = np.arange(1, len(self.ranking) + 1)
        ranks[self.special] = 0
        return ranks

    @cached_property
    def unseen(self) -> NDArray[np.bool_]:
        """``(V,)`` ordinary tokens that were never counted, so that their frequency is unknown."""
        return np.asarray((self.counts == 0) & ~self.special)

    def probabilities(self) -> NDArray[np.float64]:
        """``(V,)`` share of each id in all tokens."""
        shares = self.counts / max(self.total, 1)
        if self.special_share is None:
            return shares
        return np.asarray(shares * (1 - self.special_share.sum()) + self.special_share)

    @property
    def lacks_specials(self) -> bool:
        """Whether no special token was counted: a word list holds none, though they stand in every sentence."""
        return self.special_share is None and not self.counts[self.special].any()

    def with_special_share(self, text: TokenCounts) -> TokenCounts:
        """The same frequencies of ordinary tokens, with the share of special tokens that a text has.

        Args:
            text: Counts of the same tokenizer in some text.
        """
        share = np.where(self.special, text.probabilities(), 0.0)
        return replace(self, special_share=share, source=f"{self.source}, special tokens in {text.source}")


def count_tokens(
    encoder: Encoder,
    sentences: Sequence[str],
    *,
    source: str = "",
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> TokenCounts:
    """Count tokens as the encoder reads them, in chunks, with no forward pass.

    The encoder's own prompt counts where the pooling averages it, and not where the pooling leaves it out.

    Args:
        encoder: Whose tokenizer counts.
        sentences: Any text.
        source: What the text is called, for example ``stsb:train``.
        progress: Called with (sentences done, sentences).
        cancelled: Asked between chunks.

    Raises:
        CancelledError: ``cancelled`` said so.
        EncoderError: The encoder has no tokenizer.
    """
    vocabulary, special = token_vocabulary(encoder)
    counts = np.zeros(len(vocabulary), np.int64)
    for start in range(0, len(sentences), CHUNK):
        if cancelled is not None and cancelled():
            raise CancelledError("counting tokens was stopped")
        part = sentences[start : start + CHUNK]
        tokens = encoder.tokenise(part)
        place = np.arange(len(tokens.ids)) - np.repeat(tokens.offsets[:-1], tokens.lengths)
        pooled = place >= unpooled_start(encoder.path.pooling, tokens.prompt_length)
        counts += np.bincount(tokens.ids[pooled], minlength=len(counts))
        if progress is not None:
            progress(start + len(part), len(sentences))
    where = f"{source} ({len(sentences):,} sentences)" if source else f"the {len(sentences):,} sentences given"
    return TokenCounts(counts, special, vocabulary, len(sentences), where)


def read_counts(source: Path | bytes, encoder: Encoder, *, name: str = "") -> TokenCounts:
    """Read a reference count: one token or word a line, then its count.

    A text that is a token of the encoder counts for it: as the tokenizer writes it where the file holds its marks
    (``##ing``, ``▁the``), else as the start of a word. Any other text is tokenised, and each of its tokens gets the
    count, without the encoder's own prompt. Space, tab, comma or semicolon stand before the count; a first line without
    a count is taken as a header. Thousands separators are read after a tab only: "the 1,234" has two readings.

    Args:
        source: The file, or its content.
        encoder: Whose tokens are meant.
        name: What to call the file in messages.

    Raises:
        DataError: The file is too large, no UTF-8, or a line has no count or one that can be read in two ways.
        EncoderError: The encoder has no tokenizer.
    """
    label = name or (source.name if isinstance(source, Path) else "reference count")
    raw = _content(source, label)
    words, amounts = _parse(_text(raw, label), label)
    vocabulary, special = token_vocabulary(encoder)
    where = {token: i for i, token in enumerate(vocabulary)}
    mark = WORD_MARKS.get(style_of(vocabulary), "")
    if any(word in where and word.startswith(("##", "▁", "Ġ")) for word in words):
        mark = ""  # the file writes tokens as the tokenizer does
    counts = np.zeros(len(vocabulary), np.int64)
    pieces: list[tuple[str, int]] = []
    for word, amount in zip(words, amounts, strict=True):
        known = where.get(mark + word)
        if known is None:
            pieces.append((word, amount))
        else:
            counts[known] += amount
    unmatched = 0
    # A byte-level tokenizer splits a word without the space before it into other pieces than inside a sentence.
    start = " " if mark == WORD_MARKS["byte-level"] else ""
    for ids, (_, amount) in zip(encoder.word_pieces([start + word for word, _ in pieces]), pieces, strict=True):
        kept = ids[~special[ids]]
        unmatched += not len(kept)
        np.add.at(counts, kept, amount)
    if not counts.any():
        raise DataError(f"no line counts a token of {encoder.name}", where=label, remedy="Check the file's encoding")
    digest = hashlib.sha256(raw).hexdigest()
    return TokenCounts(counts, special, vocabulary, 0, label, unmatched, digest=digest)


def token_vocabulary(encoder: Encoder) -> tuple[tuple[str, ...], NDArray[np.bool_]]:
    """Token strings by id, and which ids are special; ids that the tokenizer leaves out get a name of their own.

    Raises:
        EncoderError: The encoder has no tokenizer.
    """
    tokenizer = None if encoder.transformer is None else encoder.transformer.tokenizer
    if encoder.transformer is None or tokenizer is None:
        raise EncoderError(f"{encoder.name} has no tokens: its first module is no transformer")
    by_token: dict[str, int] = tokenizer.get_vocab()
    size = max(max(by_token.values(), default=-1) + 1, int(getattr(encoder.transformer.config, "vocab_size", 0) or 0))
    names = [f"<unused id {i}>" for i in range(size)]
    for token, i in by_token.items():
        names[i] = token
    special = np.zeros(size, bool)
    special[special_ids(tokenizer)] = True
    return tuple(names), special


def _content(source: Path | bytes, label: str) -> bytes:
    size = len(source) if isinstance(source, bytes) else source.stat().st_size if source.is_file() else -1
    if size < 0:
        raise DataError("there is no such file", where=str(source))
    if size > MAX_COUNT_BYTES:
        raise DataError(
            f"the reference count has {size / 2**20:,.0f} MB and at most {MAX_COUNT_BYTES // 2**20} are read",
            where=label,
            remedy="Keep its most frequent lines",
        )
    return source if isinstance(source, bytes) else source.read_bytes()


def _text(raw: bytes, label: str) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError("the file is not UTF-8", where=label, remedy="Save it as UTF-8") from error


def _parse(text: str, label: str) -> tuple[list[str], list[int]]:
    words: list[str] = []
    amounts: list[int] = []
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.strip()
        word, tab, amount = line.rpartition("\t")
        if tab and word and _GROUPED.fullmatch(amount.strip()):
            line = f"{word}\t{amount.strip().replace(',', '')}"  # a tab says where the token ends
        elif not tab and _TWO_WAYS.fullmatch(line):
            raise DataError(
                "the count on this line can be read in two ways",
                where=f"{label}, row {number}",
                remedy="Write counts without thousands separators (1234), or put a tab before them",
            )
        match = _LINE.fullmatch(line)
        if match:
            words.append(match[1].strip())
            amounts.append(int(match[2]))
        elif line and number > 1:
            raise DataError(
                "this line is no token followed by its count",
                where=f"{label}, row {number}",
                remedy="Write: the 6187267",
            )
    return words, amounts
