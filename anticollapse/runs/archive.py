"""A run's encoder as one file to take away."""

from __future__ import annotations

import zipfile
from typing import IO

from anticollapse.errors import OptionError, RunError
from anticollapse.runs import store
from anticollapse.runs.store import Run


def gives_pair_scores(run: Run) -> bool:
    """Whether a run trains a scorer of pairs; a variant that is not known here is taken for an encoder."""
    from anticollapse.training import get_variant

    try:
        return get_variant(run.request.variant).gives == "pair scores"
    except OptionError:
        return False


def write_zip(run: Run, stream: IO[bytes]) -> None:
    """Write a run's encoder as a zip of one folder that ``SentenceTransformer`` loads.

    A scorer of pairs also has its head in it, for :func:`anticollapse.training.load_pair_scorer`.

    Args:
        run: A run with an encoder.
        stream: Where to.

    Raises:
        RunError: If there is no encoder yet.
    """
    if not run.has_model:
        raise RunError(f'the run "{run.name}" has no encoder yet')
    top = f"{run.request.variant}-{run.id[:8]}"
    heads = run.folder / "heads"
    scorer = gives_pair_scores(run)
    parts = [(run.folder / store.MODEL, f"{top}/{store.MODEL}" if scorer else top)]
    if scorer and heads.is_dir():
        parts.append((heads, f"{top}/heads"))
    # Weights do not shrink, so nothing is compressed.
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for folder, inside in parts:
            for file in sorted(folder.rglob("*")):
                if file.is_file() and not file.name.startswith("."):
                    archive.write(file, f"{inside}/{file.relative_to(folder).as_posix()}")
