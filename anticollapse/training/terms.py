"""Terms of a training loss: which objective, on what, with which weight.

A term is a frozen dataclass of parameters and one method from embeddings to a scalar. It never sees the encoder.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anticollapse import objectives
from anticollapse.training.heads import mlp
from anticollapse.training.parameters import parameter

Need = Literal["labels", "pairs"]

KNOWN_POSITIVE = 4.0
"""A pair graded this or more says the same thing (the STS rubric: "mostly equivalent")."""


@dataclass(frozen=True, kw_only=True)
class SupervisedTerm(ABC):
    """A loss on graded pairs.

    Attributes:
        weight: Factor in the joint loss.
        needs: Whether it needs graded pairs or just pairs (then all count as paraphrases).
        min_items: Fewest pairs in a batch for which it is no constant.
        mines: Whether it takes negatives from other pairs of the batch; then ``loss`` also gets ``related``.
    """

    needs: ClassVar[Need] = "labels"
    min_items: ClassVar[int] = 2
    mines: ClassVar[bool] = False

    weight: float = parameter(1.0, "factor of the supervised term in the joint loss", minimum=0, maximum=1000)

    @abstractmethod
    def loss(self, first: Tensor, second: Tensor, labels: Tensor) -> Tensor:
        """The unweighted loss.

        Args:
            first: Vectors of the first sentences, shape (B, d), float32.
            second: Vectors of the second sentences, shape (B, d).
            labels: Grades 0 to 5, shape (B,).

        Returns:
            A scalar.
        """


@dataclass(frozen=True, kw_only=True)
class CosineMSE(SupervisedTerm):
    """(cos - label/5)², the loss of Sentence-BERT."""

    min_items: ClassVar[int] = 1

    def loss(self, first: Tensor, second: Tensor, labels: Tensor) -> Tensor:  # noqa: D102
        return objectives.cosine_mse(first, second, labels)


@dataclass(frozen=True, kw_only=True)
class CoSENT(SupervisedTerm):
    """CoSENT: the order of the cosines."""

    scale: float = parameter(20.0, "sharpness of the ranking (1 / temperature)", minimum=0.1, maximum=1000)

    def loss(self, first: Tensor, second: Tensor, labels: Tensor) -> Tensor:  # noqa: D102
        return objectives.cosent(first, second, labels, scale=self.scale)


@dataclass(frozen=True, kw_only=True)
class AnglE(SupervisedTerm):
    """AnglE: the order of angle differences in complex space, plus the order of the cosines."""

    scale: float = parameter(20.0, "sharpness of the ranking (1 / temperature)", minimum=0.1, maximum=1000)
    cosine_weight: float = parameter(
        1.0, "factor of the ranking by cosine beside the one by angle", minimum=0, maximum=100
    )

    def loss(self, first: Tensor, second: Tensor, labels: Tensor) -> Tensor:  # noqa: D102
        by_angle = objectives.angle(first, second, labels, scale=self.scale)
        return by_angle + self.cosine_weight * objectives.cosent(first, second, labels, scale=self.scale)


@dataclass(frozen=True, kw_only=True)
class Triplet(SupervisedTerm):
    """Anchor nearer to its paraphrase than to the hardest other sentence of the batch."""

    needs: ClassVar[Need] = "pairs"
    mines: ClassVar[bool] = True

    margin: float = parameter(0.2, "how much nearer the positive has to be", minimum=0, maximum=2, unit="cosine")
    positive_from: float = parameter(
        KNOWN_POSITIVE, "lowest grade of a pair that counts as a paraphrase", minimum=0, maximum=5, unit="grade"
    )

    def loss(self, first: Tensor, second: Tensor, labels: Tensor, related: Tensor | None = None) -> Tensor:
        """Both sentences of each paraphrase serve as anchor; the rest of the batch gives the negatives.

        Args:
            first: Vectors of the first sentences, shape (B, d), float32.
            second: Vectors of the second sentences, shape (B, d).
            labels: Grades 0 to 5, shape (B,).
            related: Shape (2B, 2B), first sentences before second ones: true where two are the same sentence or known
                to mean the same, which makes them no negatives. Data with several positives an anchor has many.

        Returns:
            A scalar.
        """
        n = len(first)
        anchors, positives = torch.cat([first, second]), torch.cat([second, first])
        row = torch.arange(n, device=first.device).repeat(2)
        # The own pair is out: the anchor itself, and its partner, which is the positive or a graded non-paraphrase.
        allowed = row[:, None] != row[None, :]
        if related is not None:
            allowed = allowed & ~related
        hardest, found = objectives.hardest_negatives(anchors, anchors, allowed)
        weights = (labels >= self.positive_from).repeat(2) & found
        return objectives.triplet(anchors, positives, anchors[hardest], margin=self.margin, weights=weights)


@dataclass(frozen=True, kw_only=True)
class Pairwise(SupervisedTerm):
    """Of two pairs the better graded one gets the higher cosine, by a margin."""

    margin: float = parameter(
        0.1, "how much higher the better pair's cosine has to be", minimum=0, maximum=2, unit="cosine"
    )

    def loss(self, first: Tensor, second: Tensor, labels: Tensor) -> Tensor:  # noqa: D102
        return objectives.pairwise(first, second, labels, margin=self.margin)


@dataclass(frozen=True, kw_only=True)
class Views:
    """Two views of the N sentences of a batch, and what else a contrast may use.

    Attributes:
        first: Vectors of the first views, shape (N, d), float32.
        second: Vectors of the second views, shape (N, d).
        targets: Vectors of the momentum encoder, shape (N, d), or None.
        queue: Further negatives, shape (Q, d), or None.
        exclude: Shape (N, N), true where two sentences of the batch must not be each other's negatives, or None.
        exclude_queue: The same against the queue, shape (N, Q), or None.
    """

    first: Tensor
    second: Tensor
    targets: Tensor | None = None
    queue: Tensor | None = None
    exclude: Tensor | None = None
    exclude_queue: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class ContrastTerm(ABC):
    """A loss on two views of the same sentences; it needs no labels.

    Attributes:
        weight: Factor in the joint loss.
        uses_negatives: Whether other sentences are pushed away (then a queue and a filter make sense).
        uses_targets: Whether it needs a momentum encoder's vectors.
        min_sentences: Fewest sentences in a batch for which it is defined.
    """

    uses_negatives: ClassVar[bool] = False
    uses_targets: ClassVar[bool] = False
    min_sentences: ClassVar[int] = 2

    weight: float = parameter(1.0, "factor of the contrastive term in the joint loss", minimum=0, maximum=1000)

    @abstractmethod
    def loss(self, views: Views) -> Tensor:
        """The unweighted loss, a scalar."""

    def predictor(self, dim: int) -> nn.Module | None:
        """A network on top of both views, or None.

        Args:
            dim: Length of the vectors it gets and gives.
        """
        del dim
        return None


@dataclass(frozen=True, kw_only=True)
class InfoNCE(ContrastTerm):
    """First views against second views, as in SimCSE."""

    uses_negatives: ClassVar[bool] = True

    temperature: float = parameter(0.05, "softmax temperature of the contrast", minimum=0.001, maximum=10)

    def loss(self, views: Views) -> Tensor:  # noqa: D102
        return objectives.info_nce(
            views.first,
            views.second,
            temperature=self.temperature,
            negatives=views.queue,
            exclude=views.exclude,
            exclude_negatives=views.exclude_queue,
        )


@dataclass(frozen=True, kw_only=True)
class NTXent(ContrastTerm):
    """Each of the 2N views against all others, as in SimCLR and ConSERT."""

    uses_negatives: ClassVar[bool] = True

    temperature: float = parameter(0.05, "softmax temperature of the contrast", minimum=0.001, maximum=10)

    def loss(self, views: Views) -> Tensor:  # noqa: D102
        return objectives.nt_xent(
            views.first,
            views.second,
            temperature=self.temperature,
            negatives=views.queue,
            exclude=views.exclude,
            exclude_negatives=views.exclude_queue,
        )


@dataclass(frozen=True, kw_only=True)
class BYOL(ContrastTerm):
    """Both views predict the momentum encoder's vector."""

    uses_targets: ClassVar[bool] = True

    hidden_ratio: float = parameter(2.0, "width of the predictor", minimum=0.1, maximum=16, unit="× its input")

    def loss(self, views: Views) -> Tensor:  # noqa: D102
        if views.targets is None:
            msg = "BYOL needs the vectors of a momentum encoder"
            raise ValueError(msg)
        return (objectives.byol(views.first, views.targets) + objectives.byol(views.second, views.targets)) / 2

    def predictor(self, dim: int) -> nn.Module:  # noqa: D102
        return mlp([dim, max(1, round(self.hidden_ratio * dim)), dim], batch_norm=True)


@dataclass(frozen=True, kw_only=True)
class BarlowTwins(ContrastTerm):
    """Cross-correlation of the views becomes the identity."""

    off_diagonal: float = parameter(0.005, "weight of the off-diagonal correlations", minimum=0, maximum=10)

    def loss(self, views: Views) -> Tensor:  # noqa: D102
        return objectives.barlow_twins(views.first, views.second, off_diagonal_weight=self.off_diagonal)


@dataclass(frozen=True, kw_only=True)
class VICReg(ContrastTerm):
    """Invariance, variance, covariance."""

    invariance: float = parameter(25.0, "weight of the views' distance", minimum=0, maximum=1000)
    variance: float = parameter(25.0, "weight of the spread of each dimension", minimum=0, maximum=1000)
    covariance: float = parameter(1.0, "weight of the covariance between dimensions", minimum=0, maximum=1000)

    def loss(self, views: Views) -> Tensor:  # noqa: D102
        return objectives.vicreg(
            views.first,
            views.second,
            invariance_weight=self.invariance,
            variance_weight=self.variance,
            covariance_weight=self.covariance,
        )


def cosine_matrix(first: Tensor, second: Tensor) -> Tensor:
    """Cosines of all rows with all rows, shape (N, M), float32."""
    return F.normalize(first.float(), dim=1) @ F.normalize(second.float(), dim=1).T
