"""Arrays kept on disk under what they were made from: the content of the inputs and the parameters."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import uuid
import zipfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

MAX_BYTES = 512 * 1024**2
"""Default limit of the folder; what was used longest ago leaves first."""


class ArrayCache:
    """A folder of named arrays.

    Args:
        folder: Where the files live; made when missing.
        max_bytes: Limit of the folder.
    """

    def __init__(self, folder: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self.folder = folder
        self.max_bytes = max_bytes

    def read(self, key: str) -> dict[str, NDArray[np.generic]] | None:
        """The arrays under a key, or None; a damaged file is a miss."""
        file = self._file(key)
        try:
            with np.load(file, allow_pickle=False) as stored:
                found = {name: stored[name] for name in stored.files}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            logger.warning("%s was not read: %s", file.name, error)
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)
            return None
        with contextlib.suppress(
            OSError
        ):  # read all the same where the folder cannot be written, or the file just left
            os.utime(file)
        return found

    def write(self, key: str, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Keep arrays; a full disk costs time on the next visit, not the result of this one."""
        file = self._file(key)
        # Threads of one server may write the same map at once.
        part = file.with_name(f".{file.name}.{os.getpid()}.{uuid.uuid4().hex}.tmp")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as stream:
                np.savez(stream, allow_pickle=False, **arrays)
            part.replace(file)
        except OSError as error:
            logger.warning("the map was not kept: %s", error)
            with contextlib.suppress(OSError):
                part.unlink()
            return
        self._prune(keep=file)

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.npz"

    def _prune(self, keep: Path) -> None:
        found = []
        for file in self.folder.glob("*.npz"):
            with contextlib.suppress(OSError):  # another process took it away
                facts = file.stat()
                found.append((facts.st_mtime, facts.st_size, file))
        total = sum(size for _, size, _ in found)
        for _, size, file in sorted(found):
            if total <= self.max_bytes:
                return
            if file != keep:
                total -= size
                with contextlib.suppress(OSError):
                    file.unlink(missing_ok=True)


def content_key(arrays: Sequence[NDArray[np.generic]], parameters: Mapping[str, object]) -> str:
    """What identifies a result.

    Args:
        arrays: Everything it is made from; content, shape and type count.
        parameters: Plain values.

    Returns:
        40 hexadecimal digits; other releases of the libraries that compute give other keys.
    """
    digest = hashlib.sha256()
    releases = {name: version(name) for name in ("umap-learn", "numpy", "numba")}
    digest.update(json.dumps({**parameters, **releases}, sort_keys=True).encode())
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:40]
