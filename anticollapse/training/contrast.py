"""The contrast of a step: which sentences are whose negatives, and what comes of it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anticollapse.training.negatives import Clusterer, KeyQueue, known_positives, same_cluster
from anticollapse.training.terms import Views, cosine_matrix
from anticollapse.training.variant import Variant

HALF = 0.5
"""A negative with this cosine to its anchor or more counts in ``negatives_above_half`` of the telemetry."""

COUNT = "count/"
"""Prefix of numbers a step, which can be added up over a run; see :meth:`Contrast.counts`."""


class Contrast(nn.Module):
    """Contrastive term with its predictor, queue and filter.

    Args:
        variant: With a contrastive term.
        dim: Length of the vectors that are contrasted.
        keys_per_step: Sentences a step, over all processes; the queue's size is a multiple of it.
        n_sentences: Distinct sentences in the data.
        positives: Sorted codes of the pairs graded as paraphrases (see :func:`~.negatives.known_positives`).
    """

    positives: Tensor

    def __init__(self, variant: Variant, dim: int, *, keys_per_step: int, n_sentences: int, positives: Tensor) -> None:
        super().__init__()
        if variant.contrast is None:
            msg = f"the variant {variant.id} has no contrastive term"
            raise ValueError(msg)
        self.term = variant.contrast
        self.predictor = self.term.predictor(dim)
        slots = 0 if variant.queue is None else round(variant.queue.size_ratio * keys_per_step)
        self.queue = KeyQueue(slots, dim) if slots else None
        self.clusterer = None if variant.swav is None else Clusterer(variant.swav, dim)
        self.n_sentences = n_sentences
        # Derived from the data, so no part of the state.
        self.register_buffer("positives", positives, persistent=False)

    def forward(
        self, first: Tensor, second: Tensor, targets: Tensor | None, ids: Tensor, towers: int
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Losses and telemetry of one batch.

        Args:
            first: Vectors of the first views, shape (N, d), float32.
            second: Vectors of the second views.
            targets: The momentum encoder's vectors, or None.
            ids: Sentence of each row, shape (N,).
            towers: 2 when rows i and i + N/2 are a pair: no negatives of each other, as their grade says what they are.
                In other rows, and as keys in the queue, the same two sentences are.

        Returns:
            Weighted loss terms by name, and telemetry by name (scalars on the device).
        """
        exclude, exclude_queue = None, None
        stats: dict[str, Tensor] = {}
        if self.term.uses_negatives:
            exclude, exclude_queue, stats = self._exclusions(first, second, ids, towers)
        loss = self._loss(first, second, targets, exclude, exclude_queue)
        terms = {"contrast": self.term.weight * loss}
        if self.clusterer is not None:
            terms["swav"] = self.clusterer.settings.weight * self.clusterer.loss(first, second)
        return terms, stats

    def plain_loss(self, first: Tensor, second: Tensor, targets: Tensor | None, ids: Tensor, towers: int) -> Tensor:
        """The contrast alone, without telemetry and without the filter."""
        exclude, exclude_queue = self._certain(ids, towers) if self.term.uses_negatives else (None, None)
        return self._loss(first, second, targets, exclude, exclude_queue)

    def _loss(
        self,
        first: Tensor,
        second: Tensor,
        targets: Tensor | None,
        exclude: Tensor | None,
        exclude_queue: Tensor | None,
    ) -> Tensor:
        if self.predictor is not None:
            first, second = self.predictor(first), self.predictor(second)
        queue = None if self.queue is None else self.queue.keys
        return self.term.loss(
            Views(
                first=first, second=second, targets=targets, queue=queue, exclude=exclude, exclude_queue=exclude_queue
            )
        )

    def _certain(self, ids: Tensor, towers: int) -> tuple[Tensor, Tensor | None]:
        """What can be no negative: the same sentence, the partner of a graded pair, an empty slot."""
        exclude = ids[:, None] == ids[None, :]
        if towers == 2:
            row = torch.arange(len(ids), device=ids.device)
            partner = row.roll(len(ids) // 2)
            exclude = exclude | (row[:, None] == partner[None, :])
        if self.queue is None:
            return exclude, None
        return exclude, (ids[:, None] == self.queue.ids[None, :]) | ~self.queue.filled[None, :]

    @torch.no_grad()
    def _exclusions(
        self, first: Tensor, second: Tensor, ids: Tensor, towers: int
    ) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
        exclude, exclude_queue = self._certain(ids, towers)
        stats: dict[str, Tensor] = {}
        if self.queue is not None:
            stats["queue_fill"] = self.queue.fill
        before = _joined(exclude, exclude_queue)
        clusters = None
        if self.clusterer is not None:
            queue = (None, None) if self.queue is None else (self.queue.keys, self.queue.filled)
            clusters, queue_clusters = self.clusterer.clusters(first, *queue)
            exclude = exclude | same_cluster(clusters, clusters)
            if exclude_queue is not None and queue_clusters is not None:
                exclude_queue = exclude_queue | same_cluster(clusters, queue_clusters)
        after = _joined(exclude, exclude_queue)
        others, vectors = ids, first
        if self.queue is not None:
            others, vectors = torch.cat([ids, self.queue.ids]), torch.cat([first, self.queue.keys])
        cosines = cosine_matrix(first, vectors)
        known = known_positives(ids, others, self.positives, self.n_sentences) if len(self.positives) else None
        stats |= self._rates(cosines, known, before, after)
        harder = cosines >= F.cosine_similarity(first.float(), second.float())[:, None]
        counts = self.counts(harder, known, before, after, clusters if towers == 2 else None)
        return exclude, exclude_queue, stats | {COUNT + name: value for name, value in counts.items()}

    def counts(
        self, harder: Tensor, known: Tensor | None, before: Tensor, after: Tensor, clusters: Tensor | None
    ) -> dict[str, Tensor]:
        """Numbers of (anchor, negative) pairs in this step; sums over a run give its rates.

        ``candidates`` are all that could be negatives, ``negatives`` those that the filter leaves, ``filtered`` those
        that it takes out. A negative is *hard* when its cosine with the anchor is at least that of the positive
        (Schroff et al. 2015, section 3.2, https://arxiv.org/abs/1503.03832) and *false* when the two sentences are
        graded as paraphrases. The two sentences of a graded pair of the batch are no negatives in their own row, so
        they are what the filter can be judged on: ``same_cluster`` of the ``pairs`` of a step would be taken out, of
        which ``same_cluster_paraphrases`` rightly.

        Args:
            harder: Shape (N, N + Q), whether the cosine is at least the positive's.
            known: Shape (N, N + Q), pairs graded as paraphrases, or None without grades.
            before: What was no negative before the filter.
            after: What is no negative after it.
            clusters: Shape (N,), cluster of each anchor where rows i and i + N/2 are a pair; else None.
        """
        left, filtered = ~after, after & ~before
        counts = {
            "candidates": (~before).sum(),
            "negatives": left.sum(),
            "hard_negatives": (harder & left).sum(),
            "filtered": filtered.sum(),
        }
        if known is None:
            return counts
        counts |= {"false_negatives": (known & left).sum(), "filtered_false_negatives": (known & filtered).sum()}
        if clusters is not None:
            row = torch.arange(len(clusters) // 2, device=clusters.device)
            first, second = clusters.chunk(2)
            together, paraphrase = first == second, known[row, row + len(row)]
            counts |= {
                "pairs": together.new_ones(len(row)).sum(),
                "paraphrases": paraphrase.sum(),
                "same_cluster": together.sum(),
                "same_cluster_paraphrases": (together & paraphrase).sum(),
            }
        return counts

    def _rates(self, cosines: Tensor, known: Tensor | None, before: Tensor, after: Tensor) -> dict[str, Tensor]:
        """Shares of filtered and false negatives, and of those with a cosine of at least one half.

        Args:
            cosines: Of anchors and candidates, shape (N, N + Q).
            known: Pairs graded as paraphrases, shape (N, N + Q), or None without grades.
            before: What was no negative before the filter, shape (N, N + Q).
            after: What is no negative after it.
        """
        candidates, left = (~before).sum().clamp_min(1), (~after).sum().clamp_min(1)
        stats = {"negatives_above_half": ((cosines >= HALF) & ~after).sum() / left}
        if known is not None:
            stats["false_negative_share"] = (known & ~after).sum() / left
        if self.clusterer is not None:
            stats["filtered_share"] = (after & ~before).sum() / candidates
        return stats


def _joined(batch: Tensor, queue: Tensor | None) -> Tensor:
    return batch if queue is None else torch.cat([batch, queue], dim=1)
