"""What a trained encoder was trained on, and whether it is judged on just that."""

from __future__ import annotations

import logging
from collections.abc import Mapping
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
SETTINGS = ("minutes", "tokens", "passes", "batch_tokens", "learning_rate", "mask_rate", "dropout", "seed")
"""What a record keeps of how its backbone was pre-trained further; zero stands for none."""
PRETRAINING_RECORD = "pretraining.json"
"""The same in the folder of a pre-trained one."""


def is_trained(folder: Path | str) -> bool:
    """Whether an encoder was trained by anticollapse.

    Args:
        folder: Of the encoder; a Hub name is none.
    """
    return isinstance(folder, Path) and (folder / TRAINING_RECORD).is_file()


def origin(name: str, folder: Path | str) -> str:
    """Where an encoder comes from, as a sentence; empty for one that starts from nothing, or does not say.

    Args:
        name: What people call the encoder.
        folder: Of the encoder; a Hub name says nothing.
    """
    own = further(folder)
    if own:
        return f"{name} is {_further(own)}."
    record = _record(folder)
    variant, data, backbone = (record.get(key) for key in ("variant", "data", "backbone"))
    if not (isinstance(variant, dict) and isinstance(data, dict) and isinstance(backbone, dict)):
        return ""
    title, trained_on = (str(part)[:SHOWN] for part in (variant.get("title"), data.get("name")))
    before = backbone.get("further")
    start = f"{_further(before)}, then trained as {title}" if isinstance(before, dict) else ""
    return f"{name} is {start or str(backbone.get('name'))[:SHOWN] + f' after {title}, trained'} on {trained_on}."


def further(folder: Path | str) -> dict[str, Any]:
    """From which encoder one was pre-trained further, on what, and by which command; empty for any other.

    Args:
        folder: Of the encoder; a Hub name says nothing.

    Returns:
        ``name`` and ``digest`` of the encoder that it started from, ``on``, ``command``, and the ``settings`` that were
        in force, as defaults change.
    """
    record = _read(folder, PRETRAINING_RECORD)
    start, data = record.get("from"), record.get("data")
    if not isinstance(start, dict) or not isinstance(data, dict):
        return {}
    options = record.get("options")
    known = {**(options if isinstance(options, dict) else {}), "batch_tokens": record.get("batch_tokens")}
    on = ", ".join(str(part) for part in data.get("files", ()))
    return {
        "name": str(start.get("name")),
        "digest": str(start.get("digest")),
        "on": on,
        "command": str(record.get("command")),
        "settings": {key: known[key] for key in SETTINGS if known.get(key)},
    }


def _further(found: Mapping[str, Any]) -> str:
    return f"{str(found.get('name'))[:SHOWN]}, pre-trained further on {str(found.get('on'))[:SHOWN]}"


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
    return _read(folder, TRAINING_RECORD)


def _read(folder: Path | str, file: str) -> dict[str, Any]:
    if not isinstance(folder, Path) or not (folder / file).is_file():
        return {}
    try:
        return read_json(folder / file, dict)
    except EncoderError as error:
        logger.warning("%s", error)
        return {}
