"""What is measured during a pre-training: held-out masked tokens, and graded sentence pairs that it never trains on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from anticollapse.data import PairSet
from anticollapse.encoding import load_encoder
from anticollapse.measures import mean_unrelated_cosine, pair_cosines
from anticollapse.measures.correlation import correlation_of, why_undefined
from anticollapse.pretraining.corpus import Corpus
from anticollapse.pretraining.engine import autocast
from anticollapse.pretraining.loading import to_batches
from anticollapse.pretraining.masking import IGNORED
from anticollapse.pretraining.model import MaskedLanguageModel
from anticollapse.pretraining.options import PretrainingOptions
from anticollapse.pretraining.packing import Epoch

BATCH_TOKENS = 4096
SCORE_DECIMALS = 6
UNRELATED = 1.0
"""Pairs with a score up to this are unrelated in meaning."""
SEED = 20_260
"""Of the held-out masks: the same for every run on the same text, so that losses compare."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Measures at one moment.

    Attributes:
        held_out_loss: Mean cross-entropy of the predicted held-out tokens, in nats.
        held_out_accuracy: Share of them whose most probable token is the right one.
        held_out_predicted: How many are predicted.
        dev_spearman: Spearman × 100 of grades and cosines of the raw mean-pooled vectors, or None without dev pairs.
        mean_unrelated_cosine: Mean cosine of unrelated dev sentences, or None.
        mean_cosine_low: Mean cosine of the dev pairs with a score of at most 1, or None.
    """

    held_out_loss: float
    held_out_accuracy: float
    held_out_predicted: int
    dev_spearman: float | None = None
    mean_unrelated_cosine: float | None = None
    mean_cosine_low: float | None = None

    def to_json(self) -> dict[str, float | int | None]:
        """Plain JSON types."""
        return asdict(self)


@torch.no_grad()
def held_out(
    model: MaskedLanguageModel,
    corpus: Corpus,
    options: PretrainingOptions,
    device: torch.device,
    *,
    bfloat16: bool,
) -> Evaluation:
    """Loss and accuracy on the held-out lines, each line once, always with the same masks.

    Args:
        model: Its mode is kept; dropout is off meanwhile.
        corpus: With held-out lines.
        options: For the share of masked tokens.
        device: Where the network is.
        bfloat16: Whether to compute in it.
    """
    was_training = model.training
    model.eval()
    cpu = torch.device("cpu")
    plan = Epoch(corpus.held_out, batch_tokens=BATCH_TOKENS, long_share=options.long_share, seed=SEED, epoch=0)
    loss, right, total = 0.0, 0, 0
    try:
        for number in range(len(plan)):
            block = plan.block(number)
            # Masks are drawn on the CPU, so that they are the same whatever the device.
            batches = to_batches(
                block,
                rate=options.mask_rate,
                vocabulary=corpus.vocabulary_size,
                seed=(SEED, number),
                device=cpu,
            )
            for batch in batches:
                *inputs, labels = (part.to(device) for part in batch)
                with autocast(device, bfloat16):
                    logits = model.logits(*inputs).float()
                loss += float(F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum"))
                right += int((logits.argmax(-1) == labels).sum())
                total += int((labels != IGNORED).sum())
    finally:
        model.train(was_training)
    return Evaluation(
        held_out_loss=loss / max(total, 1), held_out_accuracy=right / max(total, 1), held_out_predicted=total
    )


def with_pairs(measured: Evaluation, folder: Path, pairs: PairSet | None, device: torch.device) -> Evaluation:
    """Add what graded pairs say of an encoder, exactly as it was written to disk.

    Args:
        measured: What is known already.
        folder: The encoder in the sentence-transformers layout.
        pairs: Graded pairs, or None.
        device: Where to compute, in float32.
    """
    if pairs is None or pairs.scores is None or pairs.index1 is None or pairs.index2 is None:
        return measured
    vectors = load_encoder(folder, device=str(device)).encode(pairs.sentences).vectors
    cosines = pair_cosines(vectors, pairs.index1, pairs.index2).round(SCORE_DECIMALS)
    low = pairs.scores <= UNRELATED
    defined = not why_undefined(pairs.scores, cosines)
    return Evaluation(
        held_out_loss=measured.held_out_loss,
        held_out_accuracy=measured.held_out_accuracy,
        held_out_predicted=measured.held_out_predicted,
        dev_spearman=100 * correlation_of(pairs.scores, cosines, "spearman") if defined else None,
        mean_unrelated_cosine=mean_unrelated_cosine(vectors).value,
        mean_cosine_low=float(np.mean(cosines[low])) if low.any() else None,
    )
