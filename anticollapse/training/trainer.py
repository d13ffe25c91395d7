"""``train``: the one function that trains a variant."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from anticollapse.data import PairSet
from anticollapse.encoding import Encoder
from anticollapse.errors import OptionError
from anticollapse.training import checkpoint, export
from anticollapse.training.checkpoint import Checkpoint
from anticollapse.training.fast import faster, memory_errors
from anticollapse.training.loop import LAST, Job, Run, Stop
from anticollapse.training.options import TrainingOptions
from anticollapse.training.position import TrainingResult
from anticollapse.training.setup import set_up
from anticollapse.training.telemetry import Callback
from anticollapse.training.variant import Variant


def train(
    variant: Variant,
    backbone: str | Path | Encoder,
    pairs: PairSet,
    *,
    output: str | Path,
    dev: PairSet | None = None,
    options: TrainingOptions | None = None,
    device: str | None = None,
    resume: bool = False,
    callback: Callback | None = None,
    stop: Stop | None = None,
    command: str = "",
) -> TrainingResult:
    """Train a variant.

    Args:
        variant: What to train; see :mod:`anticollapse.training.registry`.
        backbone: An encoder by name or folder, or one in memory (which is copied).
        pairs: Training data.
        output: The run's folder: ``model`` (the encoder), ``heads``, ``checkpoint/last.safetensors``,
            ``metrics.jsonl``.
        dev: Pairs to choose the best checkpoint on. Without graded ones the latest is kept.
        options: How long, how fast.
        device: ``cpu``, ``cuda``, …; default: what accelerate finds, or was launched with.
        resume: Go on from the last checkpoint in ``output``; without one the run starts anew.
        callback: Told of everything that happens.
        stop: Asked before each step; when it says yes the run stops cleanly with the best checkpoint kept.
        command: For the card; default: this process's command line.

    Returns:
        What came of it.

    Raises:
        DataError: If the data does not fit the variant.
        OptionError: If options do not fit each other, or the checkpoint to resume from.
        TrainingError: If the run cannot start or had to stop (NaN, memory, disk). The best checkpoint so far is kept.
        EncoderError: If the backbone cannot be loaded.
    """
    folder = Path(output)
    saved = _checkpoint_in(folder, resume=resume)
    chosen = options or TrainingOptions()
    with _threads(chosen.threads), torch.random.fork_rng(), memory_errors():
        half = None if saved is None else bool(saved.state["bfloat16"])
        shop = set_up(variant, backbone, pairs, dev, chosen, device=device, use_bfloat16=half)
        if dev is None or not (dev.labelled and dev.has_pairs):
            shop.notes.append("There are no graded dev pairs to choose by: the latest checkpoint is kept.")
        elif dev.digest == pairs.digest:
            shop.notes.append("The dev pairs are the training pairs: the best step is chosen on what was trained on.")
        if resume and saved is None:
            shop.notes.append("There was no checkpoint to resume from: the run starts at step 0.")
        job = Job(
            variant=variant,
            pairs=pairs,
            dev=dev,
            options=chosen,
            output=folder,
            callback=callback,
            stop=stop or (lambda: False),
            command=command or shlex.join(sys.argv),
        )
        with faster(shop.system.transformer):
            return Run(job, shop, saved).go()


def _checkpoint_in(folder: Path, *, resume: bool) -> Checkpoint | None:
    if folder.exists() and not folder.is_dir():
        raise OptionError("the output is a file, not a folder", where=str(folder), remedy="Choose another --output")
    if resume:
        return checkpoint.load(folder / LAST) if (folder / LAST).exists() else None
    if (folder / LAST).exists() or (folder / export.MODEL).exists():
        raise OptionError(
            "this folder holds a run already", where=str(folder), remedy="Use --resume, or choose another --output"
        )
    return None


@contextmanager
def _threads(wanted: int) -> Iterator[None]:
    before = torch.get_num_threads()
    if wanted:
        torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)
