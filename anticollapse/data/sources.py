"""Named sets of sentence pairs: shipped, from a local folder, or from the Hugging Face Hub."""

from __future__ import annotations

import importlib.resources
import inspect
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

import huggingface_hub
from huggingface_hub.errors import (
    EntryNotFoundError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from tqdm.auto import tqdm

from anticollapse.data.cells import shorten
from anticollapse.data.pairs import ColumnMap, Limits, OnBadRow, PairSet, Scale, Split, concatenate
from anticollapse.data.readers import read_pairs
from anticollapse.errors import DataError, OptionError

logger = logging.getLogger(__name__)

DATA_VARIABLE = "ANTICOLLAPSE_DATA"
SPLITS: tuple[Split, ...] = get_args(Split)

_PROBE_SECONDS = 10.0

Progress = Callable[[str, int, int], None]
"""Called with a file name, the bytes that have arrived and the bytes in all (0 while unknown)."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A set that can be asked for by name.

    Attributes:
        name: The name.
        title: What it is, in a few words.
        language: BCP 47 code.
        rows: Number of pairs of each split.
        local: File of each split under the folder named by ``ANTICOLLAPSE_DATA``.
        repo: Data set on the Hugging Face Hub.
        revision: The commit that is fetched, so that everyone reads the same bytes.
        remote: File of each split in it (Parquet).
        remote_scale: The scale of the scores there.
    """

    name: str
    title: str
    language: str
    rows: Mapping[Split, int]
    local: Mapping[Split, str]
    repo: str
    revision: str
    remote: Mapping[Split, str]
    remote_scale: Scale


SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        "demo": Source(
            name="demo",
            title="demo pairs written for this project (English)",
            language="en",
            rows={"train": 804, "dev": 198, "test": 198},
            local={},
            repo="",
            revision="",
            remote={},
            remote_scale="0-5",
        ),
        "stsb": Source(
            name="stsb",
            title="STS Benchmark (English)",
            language="en",
            rows={"train": 5749, "dev": 1500, "test": 1379},
            local={split: f"stsb_en/sts-{split}.csv" for split in SPLITS},
            repo="sentence-transformers/stsb",
            revision="ab7a5ac0e35aa22088bdcf23e7fd99b220e53308",
            remote={
                "train": "data/train-00000-of-00001.parquet",
                "dev": "data/validation-00000-of-00001.parquet",
                "test": "data/test-00000-of-00001.parquet",
            },
            remote_scale="0-1",
        ),
        "stsb-zh": Source(
            name="stsb-zh",
            title="STS Benchmark, translated (Chinese)",
            language="zh",
            rows={"train": 5231, "dev": 1458, "test": 1361},
            local={split: f"stsb_zh/cnsd-sts-{split}.txt" for split in SPLITS},
            repo="C-MTEB/STSB",
            revision="0cde68302b3541bb8b3c340dc0644b0b745b3dc0",
            remote={
                "train": "data/train-00000-of-00001-7d9f45e146afdbd0.parquet",
                "dev": "data/validation-00000-of-00001-f26577b4869b4653.parquet",
                "test": "data/test-00000-of-00001-8599d9428e96fe39.parquet",
            },
            remote_scale="0-5",
        ),
    }
)


def load_pairs(
    name_or_path: str | Path,
    *,
    split: Split | None = None,
    columns: ColumnMap | None = None,
    scale: Scale | None = None,
    limits: Limits | None = None,
    on_bad_row: OnBadRow = "error",
    progress: Progress | None = None,
) -> PairSet:
    """Load a named set or a file.

    Args:
        name_or_path: ``demo``, ``stsb`` or ``stsb-zh``, also with a split as in ``stsb:dev``; anything else is a path
            (write ``./demo`` for a file of that name).
        split: The split; ``None`` = all rows. In a file it needs a split column.
        columns: Which column of a file holds what, as for :func:`~anticollapse.data.readers.read_pairs`.
        scale: Scale of the scores of a file, likewise.
        limits: Caps on a file.
        on_bad_row: What becomes of a file's bad rows, likewise.
        progress: Told of a download.

    Raises:
        DataError: If a name or path is unknown, a file cannot be used, or a set is neither in the folder named by
            ``ANTICOLLAPSE_DATA`` nor to be had from the Hub.
        OptionError: If columns or a scale are stated for a named set, or an option is not known.
    """
    if isinstance(name_or_path, str):
        name, colon, part = name_or_path.partition(":")
        if name in SOURCES:
            if columns is not None or scale is not None:
                msg = f"the columns and the scale of {name} are known"
                raise OptionError(msg, remedy="State them for files only")
            return _load_named(SOURCES[name], _one_split(name_or_path, part if colon else None, split), progress)
        # Not only a missing file but a mistyped name: say which names there are.
        if not _exists(name_or_path) and not Path(name).suffix and "/" not in name_or_path:
            msg = f"there is neither a set nor a file called {shorten(name_or_path, length=200)}"
            raise DataError(msg, remedy=f"The named sets are {', '.join(SOURCES)}; else give the path of a file")
    return read_pairs(
        Path(name_or_path), split=split, columns=columns, scale=scale, limits=limits, on_bad_row=on_bad_row
    )


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # longer than file names can be, a null character: no file has that name
        return False


def _one_split(asked: str, part: str | None, split: Split | None) -> Split | None:
    if part is None:
        return split
    found = next((s for s in SPLITS if s == part), None)
    if found is None or split not in {None, found}:
        msg = f'"{asked}"' + (f' and split "{split}" contradict each other' if found else " names no split")
        raise DataError(msg, remedy=f"The splits are {', '.join(SPLITS)}")
    return found


def _load_named(source: Source, split: Split | None, progress: Progress | None) -> PairSet:
    if source.name == "demo":
        return _load_demo(split)
    parts = [_load_split(source, one, progress) for one in ((split,) if split else SPLITS)]
    return parts[0] if split else concatenate(source.name, parts)


def _load_demo(split: Split | None) -> PairSet:
    columns = ColumnMap(
        sentence1="sentence1", sentence2="sentence2", score="score", split="split", group="domain", header=True
    )
    pairs = read_pairs(demo_bytes(), name="demo.tsv", columns=columns, scale="0-5", split=split, quoted=False)
    return replace(pairs, name="demo" if split is None else f"demo:{split}")


def demo_bytes() -> bytes:
    """The shipped file of demo pairs.

    Raises:
        DataError: If the installation lacks it.
    """
    try:
        return importlib.resources.files("anticollapse.data").joinpath("demo/pairs.tsv").read_bytes()
    except OSError as error:
        msg = "the demo pairs are missing from this installation"
        raise DataError(msg, remedy="Install anticollapse again") from error


def at_hand(name: str, split: Split) -> bool:
    """Whether a split of a named set can be read without a download.

    Args:
        name: Of :data:`SOURCES`, but for the demo, which always is.
        split: The split.
    """
    source = SOURCES[name]
    if (local := _local(source, split)) is not None and local.is_file():
        return True
    kept = huggingface_hub.try_to_load_from_cache(
        source.repo, source.remote[split], revision=source.revision, repo_type="dataset"
    )
    return isinstance(kept, str)


def _local(source: Source, split: Split) -> Path | None:
    """Where a split lies in the folder that the user named, if they did."""
    folder = os.environ.get(DATA_VARIABLE, "")
    return Path(os.path.expanduser(folder)) / source.local[split] if folder else None  # noqa: PTH111  # "~nobody" stays


def _load_split(source: Source, split: Split, progress: Progress | None) -> PairSet:
    local = _local(source, split)
    if local is not None and local.is_file():
        pairs, origin = read_pairs(local), f"the folder named by {DATA_VARIABLE}"
    else:
        path = _fetch(source, split, progress, looked=os.environ.get(DATA_VARIABLE, ""))
        columns = ColumnMap(sentence1="sentence1", sentence2="sentence2", score="score")
        pairs = read_pairs(path, columns=columns, scale=source.remote_scale)
        origin = "the Hugging Face Hub"
    notes = (f"{source.title}, from {origin}.", *pairs.notes)
    return replace(pairs, name=f"{source.name}:{split}", notes=notes)


def _fetch(source: Source, split: Split, progress: Progress | None, *, looked: str) -> Path:
    """Download a file into the Hub's cache, or find it there; a pinned revision needs no network the second time."""
    options: dict[str, Any] = {"repo_type": "dataset", "revision": source.revision}
    # The parameter came in the course of huggingface_hub 1.x; before that only its own terminal bar shows progress.
    if progress is not None and _takes(huggingface_hub.hf_hub_download, "tqdm_class"):
        options["tqdm_class"] = _reporting_bar(source.remote[split], progress)
    try:
        return Path(_download(source.repo, source.remote[split], options))
    except LocalEntryNotFoundError as error:
        raise _unreachable(source, looked) from error
    except (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError, HFValidationError) as error:
        msg = f'the Hub no longer has the file of "{source.name}" ({source.repo}, {source.remote[split]})'
        remedy = f"Name a folder that holds {source.local[split]} in the variable {DATA_VARIABLE}"
        raise DataError(msg, remedy=remedy) from error
    except Exception as error:
        # No network, proxy, time-out, HTTP status, full disk: most are OSErrors, but the HTTP client below the Hub
        # library has changed over time and has error classes of its own. All of them mean "no download".
        logger.debug("download of %s failed", source.name, exc_info=True)
        raise _unreachable(source, looked, error) from error


def _download(repo: str, file: str, options: dict[str, Any]) -> str:
    where = {"repo_type": options["repo_type"], "revision": options["revision"]}
    try:
        return str(huggingface_hub.hf_hub_download(repo, file, local_files_only=True, **where))
    except LocalEntryNotFoundError:
        # One request without retries first: offline, the download itself would try for half a minute.
        url = huggingface_hub.hf_hub_url(repo, file, **where)
        huggingface_hub.get_hf_file_metadata(url, timeout=_PROBE_SECONDS)
    return str(huggingface_hub.hf_hub_download(repo, file, **options))


def _unreachable(source: Source, looked: str, error: Exception | None = None) -> DataError:
    why = f" ({type(error).__name__})" if error is not None else ""
    folder = f"{DATA_VARIABLE} names {looked}, which does not hold it" if looked else f"{DATA_VARIABLE} is not set"
    msg = f'"{source.name}" is not on this machine and cannot be downloaded from the Hugging Face Hub{why}; {folder}'
    example = next(iter(source.local.values()))
    remedy = f"Go online, or name a folder that holds {example} in {DATA_VARIABLE}, or use the demo pairs"
    return DataError(msg, remedy=remedy)


def _takes(function: Callable[..., object], parameter: str) -> bool:
    parameters = inspect.signature(function).parameters
    return parameter in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _reporting_bar(file: str, progress: Progress) -> type[tqdm[Any]]:
    """A progress bar that draws nothing and tells ``progress`` of every step."""

    class Reporting(tqdm):  # type: ignore[misc]  # tqdm has no types
        def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
            kwargs.pop("name", None)  # the Hub library's own bars have it, tqdm does not
            kwargs["file"] = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
            kwargs["disable"] = False
            super().__init__(*args, **kwargs)
            progress(file, int(self.n), int(self.total or 0))

        def update(self, n: float | None = 1) -> bool | None:
            shown: bool | None = super().update(n)
            progress(file, int(self.n), int(self.total or 0))
            return shown

        def close(self) -> None:
            super().close()
            if not self.fp.closed:
                self.fp.close()

    return Reporting
