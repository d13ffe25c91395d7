"""A trained scorer of pairs: encoder and cross-attention head together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray

from anticollapse.encoding import load_encoder
from anticollapse.encoding.batching import batches
from anticollapse.errors import EncoderError
from anticollapse.training import export
from anticollapse.training.data import Collator, Tokenizer, TrainingData
from anticollapse.training.evaluation import SCORE_DECIMALS, TOKEN_BUDGET
from anticollapse.training.registry import get_variant
from anticollapse.training.system import System

HEAD = "trained.head."


class PairScorer:
    """Gives a cosine for a pair of sentences, and no vectors.

    Args:
        system: Encoder and head.
        folder: Where they come from.
    """

    def __init__(self, system: System, folder: Path) -> None:
        self.system, self.folder = system.eval(), folder

    @torch.no_grad()
    def score(self, first: Sequence[str], second: Sequence[str]) -> NDArray[np.float64]:
        """Score pairs.

        Args:
            first: N sentences.
            second: N sentences.

        Returns:
            Shape (N,), from −1 to 1.

        Raises:
            ValueError: If the two lists differ in length.
        """
        if len(first) != len(second):
            msg = f"there are {len(first)} first and {len(second)} second sentences"
            raise ValueError(msg)
        encoder = self.system.encoder
        tokens = encoder.tokenise([*first, *second])
        items = np.arange(len(first))[:, None]
        data = TrainingData(tokens, Tokenizer.of(encoder), items, None, np.empty(0, np.int64))
        collator = Collator(data, self.system.variant)
        widths = np.maximum(tokens.lengths[: len(first)], tokens.lengths[len(first) :])
        scores = np.empty(len(first))
        for part in batches(widths, TOKEN_BUDGET // 2):
            rows = collator.rows(np.concatenate([part, part + len(first)])).to(encoder.device)
            scores[part] = self.system.pair_scores(rows).cpu().numpy()
        return scores.round(SCORE_DECIMALS)


def load_pair_scorer(folder: str | Path, *, device: str | None = None) -> PairScorer:
    """Load a scorer of pairs.

    Args:
        folder: The folder of a run whose variant gives pair scores.
        device: Where to compute.

    Raises:
        EncoderError: If there is none in the folder.
    """
    run = Path(folder)
    run = run.parent if run.name == export.MODEL else run
    try:
        record = json.loads((run / export.MODEL / export.RECORD).read_text(encoding="utf-8"))
        variant = get_variant(record["variant"]["id"]).with_parameters(record["parameters"])
        weights = safetensors.torch.load_file(run / record["heads"])
    except (OSError, ValueError, KeyError, safetensors.SafetensorError) as error:
        raise EncoderError(
            f"there is no scorer of pairs ({error})", where=str(folder), remedy="Train cross-attention-scored"
        ) from error
    if variant.gives != "pair scores":
        raise EncoderError(f"{variant.title} gives vectors; load it as an encoder", where=str(folder))
    encoder = load_encoder((run / export.MODEL).resolve(), device=device)
    data = TrainingData(
        encoder.tokenise(["."]), Tokenizer.of(encoder), np.zeros((1, 2), np.int64), None, np.empty(0, np.int64)
    )
    system = System(variant, encoder, data, batch_size=1, use_bfloat16=False).to(encoder.device)
    head = {name[len(HEAD) :]: value for name, value in weights.items() if name.startswith(HEAD)}
    if system.head is None:
        raise EncoderError("the variant has no head", where=str(folder))
    system.head.load_state_dict(head)
    return PairScorer(system, run)
