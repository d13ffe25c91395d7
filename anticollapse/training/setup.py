"""What stands before the first step: device, precision, data, system, optimizer, plan."""

from __future__ import annotations

import copy
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import GradientAccumulationPlugin, broadcast

from anticollapse.data import PairSet
from anticollapse.encoding import Encoder, bfloat16_supported, load_encoder
from anticollapse.encoding.precision import agrees
from anticollapse.errors import EncoderError, TrainingError
from anticollapse.training.data import Collator, TrainingData, prepare, steps_per_epoch
from anticollapse.training.evaluation import Evaluator
from anticollapse.training.options import TrainingOptions, learning_rate
from anticollapse.training.system import System
from anticollapse.training.variant import Variant

logger = logging.getLogger(__name__)

CHECKED_SENTENCES = 64
"""Sentences on which bfloat16 is compared with float32 before a training."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long a run is.

    Attributes:
        steps: Optimizer steps.
        batch_size: Items a batch, over all processes.
        epoch_batches: Batches of one pass over the data.
        evaluate_every: Steps between two evaluations.
        checkpoint_every: Steps between two checkpoints.
        patience_unit: Steps that count as one evaluation for the patience.
        learning_rate: Peak.
    """

    steps: int
    batch_size: int
    epoch_batches: int
    evaluate_every: int
    checkpoint_every: int
    patience_unit: int
    learning_rate: float


@dataclass(kw_only=True)
class Workshop:
    """Everything a run works with."""

    accelerator: Accelerator
    encoder: Encoder
    data: TrainingData
    system: System
    model: Any  # the system, wrapped for several processes where there are some
    optimizer: torch.optim.Optimizer | None
    evaluator: Evaluator
    collator: Collator
    plan: Plan
    notes: list[str]

    @property
    def device(self) -> torch.device:
        """Where the system is."""
        device: torch.device = self.accelerator.device
        return device

    @property
    def main(self) -> bool:
        """Whether this process writes."""
        return bool(self.accelerator.is_main_process)


def make_accelerator(device: str | None) -> Accelerator:
    """One for ``device``, or for what the launcher says.

    Raises:
        EncoderError: If there is no such device.
    """
    try:
        target = None if device is None else torch.device(device)
    except RuntimeError as error:
        raise EncoderError(f'there is no device "{device}" here', remedy="Use cpu, or cuda where a GPU is") from error
    if target is not None and target.type == "cuda":
        if not torch.cuda.is_available() or (target.index or 0) >= torch.cuda.device_count():
            raise EncoderError(f'there is no device "{device}" here', remedy="Use cpu, or cuda where a GPU is")
        if target.index is not None:
            torch.cuda.set_device(target)
    on_cpu = target is not None and target.type == "cpu"
    # accelerate keeps its state for the life of the process; another device needs a fresh one.
    if PartialState._shared_state and PartialState().num_processes == 1:
        AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(
        cpu=on_cpu,
        # Precision and accumulation are ours: what `accelerate config` has put into the environment would be applied on
        # top of them, to the losses too.
        mixed_precision="no",
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        # The queue and the momentum copy are the same everywhere by construction, so nothing has to be broadcast.
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
    )


def open_backbone(backbone: str | Path | Encoder, device: torch.device) -> Encoder:
    """An encoder of our own to train; one that is given is copied.

    Raises:
        EncoderError: If it cannot be loaded.
    """
    if not isinstance(backbone, Encoder):
        return load_encoder(backbone, device=str(device))
    model = copy.deepcopy(backbone.model).float().to(device)
    return Encoder(model, name=backbone.name, digest=backbone.digest, folder=backbone.folder)


def set_up(
    variant: Variant,
    backbone: str | Path | Encoder,
    pairs: PairSet,
    dev: PairSet | None,
    options: TrainingOptions,
    *,
    device: str | None,
    use_bfloat16: bool | None = None,
) -> Workshop:
    """Prepare a run; torch's random state is that of the seed afterwards.

    Args:
        variant: What to train.
        backbone: From where.
        pairs: On what.
        dev: Measured on what.
        options: How.
        device: Where, or None to let accelerate choose.
        use_bfloat16: What a run that is resumed was computed in; None decides anew.

    Raises:
        AntiCollapseError: Whatever the user can mend.
    """
    accelerator = make_accelerator(device)
    encoder = open_backbone(backbone, accelerator.device)
    if variant.trains:
        data = prepare(pairs, variant, encoder)
    else:
        data = prepare(pairs, Variant(id="sentences", title=variant.title, summary=""), encoder)
    notes = [*data.notes, *_ignored_settings()]
    plan = make_plan(variant, options, data, encoder, notes, processes=accelerator.num_processes)
    collator = Collator(data, variant, rank=accelerator.process_index, processes=accelerator.num_processes)
    torch.manual_seed(options.seed)  # the same first weights everywhere
    half = use_bfloat16
    if half is None:
        half = _decide_precision(encoder, data, collator, options, notes)
        if accelerator.num_processes > 1:  # rounding may differ, and all have to go the same way
            half = bool(broadcast(torch.tensor([int(half)], device=accelerator.device)).item())
    system = System(variant, encoder, data, batch_size=plan.batch_size, use_bfloat16=half).to(accelerator.device)
    evaluator = Evaluator(dev, encoder, variant, data, seed=options.seed)
    model, optimizer = system, None
    if variant.trains:
        _leave_out_unused(system, data, accelerator.device)
        trained = [p for p in system.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=plan.learning_rate, weight_decay=options.weight_decay, fused=True)
        model = accelerator.prepare_model(system)
    torch.manual_seed(options.seed + accelerator.process_index)  # dropout differs between processes
    return Workshop(
        accelerator=accelerator,
        encoder=encoder,
        data=data,
        system=system,
        model=model,
        optimizer=optimizer,
        evaluator=evaluator,
        collator=collator,
        plan=plan,
        notes=notes,
    )


def make_plan(
    variant: Variant,
    options: TrainingOptions,
    data: TrainingData,
    encoder: Encoder,
    notes: list[str],
    *,
    processes: int = 1,
) -> Plan:
    """How long the run will be; fall-backs are added to ``notes``.

    Raises:
        TrainingError: If the data is too small for the variant.
    """
    batch = options.batch_size or variant.defaults.batch_size
    kind = "pairs" if data.items.shape[1] == 2 else "sentences"
    if variant.trains:
        batch = _fitting_batch(variant, data.n, batch, kind, notes, processes)
    per_epoch = steps_per_epoch(data.n, batch)
    epochs = options.epochs or variant.defaults.epochs
    steps = options.steps or max(1, round(epochs * per_epoch / options.accumulation))
    if not variant.trains:
        steps = 0
        notes.append(f"{variant.title} trains nothing: the encoder is measured and written as it is.")
    width = int(getattr(getattr(encoder.transformer, "config", None), "hidden_size", encoder.dim))
    every = options.evaluation_interval(steps)
    return Plan(
        steps=steps,
        batch_size=batch,
        epoch_batches=per_epoch,
        evaluate_every=every,
        checkpoint_every=options.checkpoint_every or every,
        patience_unit=options.patience_unit(steps),
        learning_rate=learning_rate(options, variant, width),
    )


def _fitting_batch(variant: Variant, n: int, batch: int, kind: str, notes: list[str], processes: int) -> int:
    """The batch size, so that every batch of an epoch is large enough for the losses and for all processes.

    Raises:
        TrainingError: If the data or the batch that was asked for is too small.
    """
    least = max(variant.min_items, processes)
    fewest = max(least, 2)
    if n < fewest:
        raise TrainingError(f"there are {n} {kind}, and {variant.title} needs at least {fewest}", remedy="Give more")
    if batch < least:
        raise TrainingError(
            f"a batch of {batch} is too small: {variant.title} needs at least {least} {kind} a batch",
            remedy=f"Give --batch-size {least} or more",
        )
    if n < batch:
        notes.append(f"There are only {n:,} {kind}, fewer than a batch of {batch:,}: the batch is {n:,}.")
        return n
    fitting = batch
    while n // steps_per_epoch(n, fitting) < least:
        fitting += 1
    if fitting > batch:
        notes.append(f"Batches of {batch:,} would leave one of fewer than {least} {kind}: the batch is {fitting:,}.")
    return fitting


def _ignored_settings() -> list[str]:
    """Settings of accelerate's that are not applied, each with what to use instead."""
    ours = {
        "ACCELERATE_MIXED_PRECISION": ("no", "--precision"),
        "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": ("1", "--accumulation"),
    }
    found = [(name, os.environ.get(name, neutral), neutral, use) for name, (neutral, use) in ours.items()]
    return [
        f"{name}={value} of accelerate's configuration is not applied; use {use}."
        for name, value, neutral, use in found
        if value and value != neutral
    ]


def _decide_precision(
    encoder: Encoder, data: TrainingData, collator: Collator, options: TrainingOptions, notes: list[str]
) -> bool:
    """Whether the transformer computes in bfloat16: wanted, in hardware, and checked on real sentences."""
    if options.precision == "float32":
        return False
    if options.precision == "auto" and not bfloat16_supported(encoder.device):
        return False
    sentences = np.arange(min(CHECKED_SENTENCES, data.n_sentences))
    probe = Variant(id="probe", title="", summary="")
    half = System(probe, encoder, data, batch_size=1, use_bfloat16=True).eval()
    with torch.no_grad():
        rows = collator.rows(sentences).to(encoder.device)
        exact = half.vectors(rows).cpu().numpy()
        fast = half._run(half.modules_of_encoder, rows)["sentence_embedding"].float().cpu().numpy()
    if agrees(fast, exact):
        return True
    notes.append("bfloat16 gives noticeably other vectors for this backbone, so the run computes in float32.")
    return False


def _leave_out_unused(system: System, data: TrainingData, device: torch.device) -> None:
    """Freeze weights that no loss reaches (a pooler, say): data-parallel training waits for every gradient.

    They are found by one backward pass on a few items.
    """
    batch = Collator(data, system.variant)(np.arange(min(4, data.n))).to(device)
    system.train()
    system(batch)["loss"].backward()
    for parameter in system.parameters():
        if parameter.grad is None:
            parameter.requires_grad = False
        parameter.grad = None
