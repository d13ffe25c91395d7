"""Tokenised text: one array of token numbers, and a file of it that travels to a machine without the text."""

from __future__ import annotations

import hashlib
import json
import logging
import lzma
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from anticollapse.errors import DataError, OptionError, TrainingError
from anticollapse.pretraining.text import hold_out, read_lines, sample
from anticollapse.pretraining.vocabulary import SEP, UNK, check_size, train_vocabulary
from anticollapse.wording import count

logger = logging.getLogger(__name__)

IdArray = NDArray[np.uint16]
Progress = Callable[[int, int], None]

MAGIC = b"anticollapse tokens 1\n"
XZ_MAGIC = b"\xfd7zXZ\x00"
CHUNK = 20_000
HELD_OUT_TOKENS = 65_536
"""Held-out tokens that are kept: more would make each evaluation longer and no digit firmer."""
FILTERS = [
    # Token numbers are pairs of bytes: lp and pb tell the coder so.
    {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 1 << 26, "lc": 3, "lp": 1, "pb": 1}
]


@dataclass(frozen=True)
class Corpus:
    """Tokenised text.

    Attributes:
        ids: Token numbers of the training lines, each line ended by [SEP].
        held_out: The same of the held-out lines.
        tokenizer: The tokenizer as JSON.
        facts: What it was made from: files, lines, characters, language, share of unknown tokens.
    """

    ids: IdArray
    held_out: IdArray
    tokenizer: str
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of all content."""
        found = hashlib.sha256(self.tokenizer.encode())
        for part in (self.ids, self.held_out):
            found.update(len(part).to_bytes(8, "little"))
            found.update(np.ascontiguousarray(part).data)
        return found.hexdigest()

    @property
    def vocabulary_size(self) -> int:
        """Entries of the vocabulary."""
        return int(Tokenizer.from_str(self.tokenizer).get_vocab_size())


def prepare_corpus(
    files: Sequence[Path],
    *,
    language: str,
    vocabulary: int = 0,
    tokenizer: str = "",
    sentences: Sequence[str] = (),
    name: str = "",
    share: float = 1.0,
    seed: int = 0,
    progress: Progress | None = None,
    stage: Callable[[str], None] | None = None,
) -> Corpus:
    """Read text, train the vocabulary or take one, tokenise.

    Args:
        files: As for :func:`~anticollapse.pretraining.text.read_lines`.
        language: ``en`` or ``zh``; goes into the card.
        vocabulary: Entries of a vocabulary that is trained on the text.
        tokenizer: A tokenizer as JSON instead, its special tokens first
            (:attr:`~anticollapse.pretraining.Base.tokenizer`).
        sentences: Text besides that of the files.
        name: What the sentences are called.
        share: Part of the training lines that is kept, 0 to 1; the vocabulary is that of all of them.
        seed: Which part.
        progress: Told of lines done and in all.
        stage: Told in words what begins, as each takes minutes with hundreds of megabytes.

    Raises:
        DataError: If the text cannot be used.
        OptionError: If a number is out of bounds.
    """
    if not 0 < share <= 1:
        raise OptionError(f"the share {share:g} is out of bounds", remedy="More than 0, at most 1")
    if not tokenizer:
        check_size(vocabulary)
    names = [*([name] if sentences else []), *(file.name for file in files)]
    begin = stage or logger.info
    begin("reading " + ", ".join(names))
    own = [line for sentence in sentences if (line := " ".join(sentence.split()))]
    lines = own + (read_lines(files) if files or not own else [])
    train, held = hold_out(lines)
    if tokenizer:
        chosen = Tokenizer.from_str(tokenizer)
    else:
        begin(f"training a vocabulary of {vocabulary:,} entries on {count(len(train), 'line')}")
        chosen = train_vocabulary(train, vocabulary)
    kept = sample(train, share, seed)
    if not kept:
        raise DataError(f"a share of {share:g} of {len(train):,} lines leaves nothing to train on")
    begin(f"tokenising {count(len(kept), 'line')}")
    ids = tokenise(kept, chosen, progress)
    held_ids = tokenise(held, chosen)
    cut = np.flatnonzero(held_ids[:HELD_OUT_TOKENS] == SEP)
    held_ids = held_ids[: int(cut[-1]) + 1] if len(cut) else held_ids
    facts = {
        "files": names,
        "language": language,
        "vocabulary_given": bool(tokenizer),
        "vocabulary_asked": vocabulary or chosen.get_vocab_size(),  # a small text gives fewer
        "lines": len(kept),
        "lines_in_files": len(lines),
        "characters": sum(map(len, kept)),
        "tokens": len(ids) - len(kept),
        "held_out_lines": int((held_ids == SEP).sum()),
        "held_out_tokens": int((held_ids != SEP).sum()),
        "unknown_share": round(float((ids == UNK).mean()), 6),
    }
    return Corpus(ids, held_ids, tokenizer or chosen.to_str(), facts)


def tokenise(lines: Sequence[str], tokenizer: Tokenizer, progress: Progress | None = None) -> IdArray:
    """Token numbers of all lines, each ended by [SEP]; lines without a token are left out.

    Args:
        lines: Text.
        tokenizer: As :func:`~anticollapse.pretraining.vocabulary.train_vocabulary` gives it.
        progress: Told of lines done and in all.
    """
    own = Tokenizer.from_str(tokenizer.to_str())
    own.encode_special_tokens = True  # a line may spell [SEP]: there it is text, not structure
    parts = []
    for start in range(0, len(lines), CHUNK):
        encoded = own.encode_batch_fast(lines[start : start + CHUNK], add_special_tokens=False)
        rows = [ids for e in encoded if (ids := e.ids)]
        parts.append(np.fromiter(chain.from_iterable((*row, SEP) for row in rows), np.uint16))
        if progress is not None:
            progress(min(start + CHUNK, len(lines)), len(lines))
    return np.concatenate(parts) if parts else np.empty(0, np.uint16)


def save_corpus(corpus: Corpus, file: Path, *, compress: bool = True) -> None:
    """Write a corpus to one file, atomically.

    Args:
        corpus: What to write.
        file: Where.
        compress: With xz, as small as it gets (slow); else as it is.

    Raises:
        TrainingError: If it cannot be written.
    """
    header = {"facts": corpus.facts, "tokenizer": corpus.tokenizer, "lengths": [len(corpus.ids), len(corpus.held_out)]}
    head = json.dumps(header, ensure_ascii=False).encode()
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with lzma.open(temporary, "wb", filters=FILTERS) if compress else temporary.open("wb") as stream:
            stream.write(MAGIC + len(head).to_bytes(8, "little") + head)
            for part in (corpus.ids, corpus.held_out):
                stream.write(part.astype("<u2").tobytes())
        temporary.replace(file)
    except OSError as error:
        raise TrainingError(f"the tokens cannot be written ({error.strerror or error})", where=str(file)) from error
    finally:
        temporary.unlink(missing_ok=True)


def is_corpus(file: Path) -> bool:
    """Whether a file is one that :func:`save_corpus` wrote."""
    try:
        with file.open("rb") as plain:
            start = plain.read(len(MAGIC))
        if start.startswith(XZ_MAGIC):
            with lzma.open(file, "rb") as stream:
                start = stream.read(len(MAGIC))
    except (OSError, EOFError, lzma.LZMAError):
        return False
    return start == MAGIC


def load_corpus(file: Path) -> Corpus:
    """Read what :func:`save_corpus` wrote.

    Raises:
        DataError: If it is missing, cut off or something else.
    """
    try:
        data = file.read_bytes()
        if data.startswith(XZ_MAGIC):
            data = lzma.decompress(data)
        if not data.startswith(MAGIC):
            raise DataError("these are no prepared tokens", where=str(file))
        start = len(MAGIC) + 8
        end = start + int.from_bytes(data[len(MAGIC) : start], "little")
        header = json.loads(data[start:end])
        first, second = (int(n) for n in header["lengths"])
        if len(data) != end + 2 * (first + second):
            raise DataError("the prepared tokens are cut off", where=str(file), remedy="Prepare them again")
        ids = np.frombuffer(data, "<u2", first, end).astype(np.uint16, copy=False)
        held = np.frombuffer(data, "<u2", second, end + 2 * first).astype(np.uint16, copy=False)
        corpus = Corpus(ids, held, str(header["tokenizer"]), dict(header["facts"]))
        size = _vocabulary_size(corpus)
    except (OSError, EOFError, lzma.LZMAError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise DataError(f"the prepared tokens cannot be read ({error})", where=str(file)) from error
    if corpus.facts.get("language") not in {"en", "zh"}:
        raise DataError("the prepared tokens do not say their language", where=str(file))
    if not len(ids) or not len(held) or max(int(ids.max()), int(held.max())) >= size:
        raise DataError("the prepared tokens do not fit their vocabulary", where=str(file))
    return corpus


def _vocabulary_size(corpus: Corpus) -> int:
    try:
        return corpus.vocabulary_size
    except Exception as error:  # tokenizers raises bare exceptions
        msg = f"its tokenizer is damaged: {error}"
        raise ValueError(msg) from error
