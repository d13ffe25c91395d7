"""Sentence vectors on disk, keyed by what made them: the checkpoint's digest and the text.

One SQLite file an encoder: writes are transactions (a killed process loses at most the vectors of one batch), several
processes may read and write at once, and removing an encoder's vectors is removing one file.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

MAX_BYTES = 4 * 1024**3
"""Default limit of the whole cache folder; the encoders used longest ago leave first."""


class EmbeddingCache:
    """A folder of sentence vectors.

    Args:
        folder: Where the files live; made when missing. Default: ``ANTICOLLAPSE_CACHE``, else the user's cache folder.
        max_bytes: Limit of the folder.
    """

    def __init__(self, folder: Path | None = None, *, max_bytes: int = MAX_BYTES) -> None:
        self.folder = folder or default_cache_folder()
        self.max_bytes = max_bytes

    def read(
        self, digest: str, dim: int, sentences: Sequence[str]
    ) -> tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[np.int32], NDArray[np.bool_]]:
        """Look up sentences.

        Args:
            digest: What made the vectors (checkpoint and precision).
            dim: Length of a vector.
            sentences: N distinct texts.

        Returns:
            ``(N,)`` found, ``(N, dim)`` vectors, ``(N,)`` token counts, ``(N,)`` truncated; rows that were not found
            are undefined.
        """
        n = len(sentences)
        found = np.zeros(n, bool)
        vectors = np.empty((n, dim), np.float32)
        counts = np.zeros(n, np.int32)
        truncated = np.zeros(n, bool)
        if not self._file(digest).is_file():
            return found, vectors, counts, truncated
        where = {_key(text): i for i, text in enumerate(sentences)}
        keys = list(where)
        try:
            with self._open(digest) as connection:
                for start in range(0, len(keys), 500):
                    for key, blob, tokens, cut in _select(connection, keys[start : start + 500]):
                        if len(blob) == 4 * dim:
                            i = where[key]
                            vectors[i], counts[i], truncated[i] = np.frombuffer(blob, "<f4"), tokens, cut
                            found[i] = True
        except (sqlite3.DatabaseError, OSError) as error:
            # A damaged or locked file is a miss: the vectors can be computed again.
            logger.warning("the embedding cache was not read: %s", error)
            found[:] = False
            if not isinstance(error, sqlite3.OperationalError | OSError):
                _remove(self._file(digest))
        return found, vectors, counts, truncated

    def write(
        self,
        digest: str,
        sentences: Sequence[str],
        vectors: NDArray[np.float32],
        counts: NDArray[np.int32],
        truncated: NDArray[np.bool_],
    ) -> None:
        """Keep the vectors of sentences; arguments as :meth:`read` returns them."""
        rows = (
            (_key(text), np.ascontiguousarray(vector, "<f4").tobytes(), int(count), bool(cut))
            for text, vector, count, cut in zip(sentences, vectors, counts, truncated, strict=True)
        )
        try:
            with self._open(digest) as connection, connection:
                connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?, ?)", rows)
        except (sqlite3.DatabaseError, OSError) as error:
            # A full disk or a lock held too long costs time on the next visit, not the result of this one.
            logger.warning("the embedding cache was not written: %s", error)
            return
        self._prune(keep=digest)

    def clear(self) -> None:
        """Remove all vectors."""
        for file in self._files():
            _remove(file)

    @contextmanager
    def _open(self, digest: str) -> Iterator[sqlite3.Connection]:
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self._file(digest)
        connection = sqlite3.connect(file, timeout=20)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS vectors "
                "(key BLOB PRIMARY KEY, vector BLOB, tokens INTEGER, truncated INTEGER)"
            )
            yield connection
        finally:
            connection.close()
        os.utime(file)

    def _file(self, digest: str) -> Path:
        return self.folder / f"{digest}.sqlite"

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("*.sqlite"), key=lambda file: file.stat().st_mtime)

    def _prune(self, keep: str) -> None:
        files = self._files()
        total = sum(file.stat().st_size for file in files)
        for file in files:
            if total <= self.max_bytes:
                return
            if file != self._file(keep):
                total -= file.stat().st_size
                _remove(file)


def default_cache_folder() -> Path:
    """``ANTICOLLAPSE_CACHE``, else ``XDG_CACHE_HOME/anticollapse``, else ``~/.cache/anticollapse``."""
    chosen = os.environ.get("ANTICOLLAPSE_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "anticollapse"


def _select(connection: sqlite3.Connection, keys: list[bytes]) -> sqlite3.Cursor:
    marks = ",".join("?" * len(keys))  # placeholders only, no text of the user's
    return connection.execute(f"SELECT key, vector, tokens, truncated FROM vectors WHERE key IN ({marks})", keys)


def _key(text: str) -> bytes:
    # 16 bytes: a chance of collision under 1e-20 for a billion sentences. Lone surrogates are text for Python.
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _remove(file: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
