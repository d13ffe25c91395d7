"""The encoder folder: plain sentence-transformers with a card, replaced as a whole; heads beside it."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import safetensors.torch
import transformers
from sentence_transformers import SentenceTransformer

from anticollapse import __version__
from anticollapse.encoding import Encoder
from anticollapse.encoding.loading import remember_no_pooler
from anticollapse.encoding.provenance import TRAINING_RECORD, further
from anticollapse.errors import TrainingError
from anticollapse.training.system import System

MODEL, HEADS = "model", "heads"
RECORD = TRAINING_RECORD

LIBRARIES = ("torch", "transformers", "sentence-transformers", "accelerate", "tokenizers")
_RENAME_EXCHANGE, _AT_FDCWD = 2, -100


def export(output: Path, model: SentenceTransformer, system: System, step: int, record: Mapping[str, Any]) -> None:
    """Write the encoder with its card and record; a reader sees the old folder or the new one, never a mixture.

    Args:
        output: The run's folder; the encoder goes to ``model`` in it, the training-only weights to ``heads``.
        model: The encoder as it is now.
        system: Where the training-only weights are.
        step: Optimizer steps done.
        record: What ``training.json`` and the card say.

    Raises:
        TrainingError: If it cannot be written; what was there before stays.
    """
    temporary = output / f".{MODEL}.{os.getpid()}.tmp"
    heads = system.training_only_state()
    name = f"step-{step:08d}.safetensors"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        output.mkdir(parents=True, exist_ok=True)
        with no_progress_bar():
            model.save(str(temporary), create_model_card=False, safe_serialization=True)
        remember_no_pooler(temporary, model)
        full = {**record, "heads": f"{HEADS}/{name}" if heads else ""}
        write_record(temporary, full)
        if heads:
            # Before the encoder: the record names the file that belongs to it, so the two never disagree.
            folder = output / HEADS
            folder.mkdir(exist_ok=True)
            part = folder / f".{name}.{os.getpid()}.tmp"
            safetensors.torch.save_file({k: v.detach().cpu().contiguous().clone() for k, v in heads.items()}, part)
            part.replace(folder / name)
        swap_folders(temporary, output / MODEL)
    except (OSError, safetensors.SafetensorError) as error:
        raise TrainingError(
            f"the encoder cannot be written ({error})",
            where=str(output),
            remedy="Make room on the disk and resume; the previous encoder is intact",
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for old in (output / HEADS).glob("*.safetensors"):
        if old.name != name:
            old.unlink(missing_ok=True)


@contextmanager
def no_progress_bar() -> Iterator[None]:
    """Keep transformers' bar off the terminal: a run has one of its own."""
    log: Any = transformers.utils.logging
    shown = log.is_progress_bar_enabled()
    log.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            log.enable_progress_bar()


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write ``training.json`` and the card, each atomically."""
    for name, text in ((RECORD, json.dumps(record, indent=2, ensure_ascii=False) + "\n"), ("README.md", card(record))):
        part = folder / f".{name}.{os.getpid()}.tmp"
        part.write_text(text, encoding="utf-8")
        part.replace(folder / name)


def swap_folders(new: Path, target: Path) -> None:
    """Put ``new`` in the place of ``target``; what was there ends up at ``new``.

    On Linux the two names change places in one system call. Elsewhere there is a moment, two renames long, in which
    ``target`` does not exist.
    """
    if not target.exists():
        new.rename(target)
        return
    try:
        library = ctypes.CDLL(None, use_errno=True)
        failed = library.renameat2(_AT_FDCWD, os.fsencode(new), _AT_FDCWD, os.fsencode(target), _RENAME_EXCHANGE)
    except (AttributeError, OSError):
        failed = -1
    if failed:
        old = target.with_name(f".{target.name}.{os.getpid()}.old")
        target.rename(old)
        new.rename(target)
        old.rename(new)


def heads_of(output: Path) -> str:
    """The file of training-only weights that belongs to the encoder in a run's folder; empty when there is none."""
    record = json.loads((output / MODEL / RECORD).read_text(encoding="utf-8"))
    return str(record.get("heads", ""))


def versions() -> dict[str, str]:
    """Versions of what took part."""
    return {
        "anticollapse": __version__,
        "python": platform.python_version(),
        **{library: version(library) for library in LIBRARIES},
    }


def card(record: Mapping[str, Any]) -> str:
    """The card of a trained encoder.

    Args:
        record: As in ``training.json``.
    """
    variant, data = record["variant"], record["data"]
    scorer = variant["gives"] == "pair scores"
    lines = [
        "---",
        "library_name: sentence-transformers",
        "pipeline_tag: sentence-similarity",
        "tags: [sentence-transformers, anticollapse]",
        "---",
        f"# {variant['title']} from {record['backbone']['name']}",
        "",
        variant["summary"] + (f" ({variant['paper']})" if variant["paper"] else ""),
        "",
    ]
    if scorer:
        lines += [
            "**A scorer of pairs.** Its scores come from the encoder in this folder and the cross-attention head "
            f"beside it (`{record['heads']}`): `anticollapse.training.load_pair_scorer(folder).score(first, second)`. "
            "The encoder alone gives vectors too, but they are not what was measured here.",
            "",
        ]
    else:
        lines += [
            "```python",
            "from sentence_transformers import SentenceTransformer",
            "",
            f'encoder = SentenceTransformer("{MODEL}")  # this folder',
            "```",
            "",
        ]
    lines += ["## Measured", "", *_measures(record), "", "## Made from", ""]
    facts = {
        "training data": f"{data['name']}, {data['n']:,} rows (SHA-256 {data['digest'][:16]}…)",
        "dev data": f"{data['dev']} (SHA-256 {data['dev_digest'][:16]}…)" if data["dev"] else "none",
        "backbone": _backbone(record["backbone"]),
        "step": f"{record['step']:,} of {record['steps']:,}",
        "seed": record["options"]["seed"],
        "device": f"{record['device']}, {'bfloat16' if record['bfloat16'] else 'float32'}",
        "state": record["status"],
        **{k.replace("_", " "): v for k, v in record["parameters"].items()},
        **{k.replace("_", " "): v for k, v in record["options"].items() if k != "seed"},
        "versions": ", ".join(f"{name} {number}" for name, number in record["versions"].items()),
    }
    lines += ["| | |", "|---|---|", *(f"| {name} | {_cell(value)} |" for name, value in facts.items())]
    if record["command"]:
        lines += ["", "```", record["command"], "```"]
    if record["notes"]:
        lines += ["", *(f"- {note}" for note in record["notes"])]
    return "\n".join(lines) + "\n"


def backbone_of(encoder: Encoder) -> dict[str, Any]:
    """What a record says of the encoder that a training starts from.

    Args:
        encoder: The backbone. Where it was itself pre-trained further, the record says from what and on what.
    """
    before = further(encoder.folder) if encoder.folder is not None else {}
    found = {"name": encoder.name, "digest": encoder.digest}
    return {**found, "further": before} if before else found


def _backbone(found: Mapping[str, Any]) -> str:
    text = f"{found['name']} (SHA-256 {found['digest'][:16]}…)"
    before = found.get("further")
    if not before:
        return text
    start = f"{before['name']} (SHA-256 {before['digest'][:16]}…)"
    settings = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in before["settings"].items())
    return f"{text}, which is {start} pre-trained further on {before['on']} ({settings})"


def _measures(record: Mapping[str, Any]) -> list[str]:
    names = {
        "dev_spearman": "dev Spearman × 100",
        "mean_unrelated_cosine": "mean cosine of unrelated sentences",
        "std_sqrt_d": "std × √d",
        "effective_rank": "effective rank",
    }
    before, after = record["before"], record["after"]
    rows = [
        f"| {title} | {_number(before[key])} | {_number(after[key])} |"
        for key, title in names.items()
        if before[key] is not None or after[key] is not None
    ]
    n = f"{after['n_pairs']:,} dev pairs, {after['n_sentences']:,} sentences, float32"
    return [f"On {n}:", "", "| | backbone | this |", "|---|--:|--:|", *rows]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _cell(value: object) -> str:
    """Text that cannot break out of a table cell."""
    return " ".join(str(value).split()).replace("|", "\\|")
