"""What a trained encoder was trained on, and whether it is judged on just that."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from anticollapse.data import PairSet
from anticollapse.encoding.checkpoints import read_json
from anticollapse.errors import EncoderError

logger = logging.getLogger(__name__)

SHOWN = 80
"""Characters of a name in a record that are shown."""
TRAINING_RECORD = "training.json"
"""In the folder of a trained encoder: what it is and how it was made, for programs."""


def is_trained(folder: Path | str) -> bool:
    """Whether an encoder was trained by anticollapse.

    Args:
        folder: Of the encoder; a Hub name is none.
    """
    return isinstance(folder, Path) and (folder / TRAINING_RECORD).is_file()


def origin(name: str, folder: Path | str) -> str:
    """Where a trained encoder comes from, as a sentence; empty for one that was not trained, or does not say.

    Args:
        name: What people call the encoder.
        folder: Of the encoder; a Hub name says nothing.
    """
    record = _record(folder)
    variant, data, backbone = (record.get(key) for key in ("variant", "data", "backbone"))
    if not (isinstance(variant, dict) and isinstance(data, dict) and isinstance(backbone, dict)):
        return ""
    found = [str(part)[:SHOWN] for part in (backbone.get("name"), variant.get("title"), data.get("name"))]
    return f"{name} is {found[0]} after {found[1]}, trained on {found[2]}."


def training_note(name: str, folder: Path | str, pairs: PairSet | None) -> str:
    """Says where an encoder looks better than it is: on the pairs it was trained on, or was chosen by.

    Sets are told by their content, so a copy under another name is recognised; a part of a set is not.

    Args:
        name: What people call the encoder.
        folder: Of the encoder; a Hub name says nothing.
        pairs: What it is judged on, or None.

    Returns:
        A sentence; empty where there is nothing to say.
    """
    data = _record(folder).get("data")
    if pairs is None or not isinstance(data, dict):
        return ""
    if pairs.digest == data.get("digest"):
        return f"{name} was trained on these very pairs, so it looks better here than it is."
    if pairs.digest == data.get("dev_digest"):
        return (
            f"{name} is the checkpoint that was best on these very pairs, so it looks a little better here than it is."
        )
    return ""


def _record(folder: Path | str) -> dict[str, Any]:
    """The record of a training; empty where there is none that can be read."""
    if not isinstance(folder, Path) or not is_trained(folder):
        return {}
    try:
        return read_json(folder / TRAINING_RECORD, dict)
    except EncoderError as error:
        logger.warning("%s", error)
        return {}
