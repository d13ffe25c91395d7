"""Negatives beyond the batch: a queue of keys, the momentum encoder that makes them, and a filter for false ones."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anticollapse import objectives
from anticollapse.training.parameters import parameter

NO_SENTENCE = -1
"""Id in a queue slot that was never filled."""


@dataclass(frozen=True, kw_only=True)
class Momentum:
    """A second encoder that follows the trained one slowly; it makes the queue's keys and BYOL's targets."""

    decay: float = parameter(
        0.995, "share of its weights that the momentum encoder keeps at each step", minimum=0, maximum=1
    )


@dataclass(frozen=True, kw_only=True)
class Queue:
    """Keys of earlier batches as further negatives."""

    size_ratio: float = parameter(
        2.5, "slots of the queue, in sentences a step (0 = no queue)", minimum=0, maximum=1000, unit="× batch"
    )


@dataclass(frozen=True, kw_only=True)
class ClusterFilter:
    """SwAV-like clustering of the batch and the queue: members of one cluster are not each other's negatives."""

    prototypes: int = parameter(32, "clusters that sentences are assigned to", minimum=2, maximum=100_000)
    weight: float = parameter(0.1, "factor of the clustering loss in the joint loss", minimum=0, maximum=1000)
    temperature: float = parameter(0.1, "softmax temperature of the clustering loss", minimum=0.001, maximum=10)
    epsilon: float = parameter(0.05, "entropy weight of the Sinkhorn-Knopp assignment", minimum=0.001, maximum=10)
    iterations: int = parameter(3, "rounds of Sinkhorn-Knopp", minimum=1, maximum=100)


class KeyQueue(nn.Module):
    """First in, first out; empty at first; every key stays for exactly ``size`` further keys.

    All state is in buffers: keys, the sentence each belongs to, how many keys ever came.

    Args:
        size: Slots Q, 1 or more.
        dim: Length of the keys.
    """

    keys: Tensor
    ids: Tensor
    count: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        if size < 1:
            msg = f"a queue needs at least 1 slot, got {size}"
            raise ValueError(msg)
        self.size = size
        self.register_buffer("keys", torch.zeros(size, dim))
        self.register_buffer("ids", torch.full((size,), NO_SENTENCE))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def enqueue(self, keys: Tensor, ids: Tensor) -> None:
        """Append keys, the oldest ones leaving; a batch longer than the queue leaves its last ``size`` keys.

        The slot of the n-th key ever is n mod Q, computed on the device, so nothing waits for the host.

        Args:
            keys: Shape (n, d).
            ids: Sentence of each key, shape (n,).
        """
        kept = min(len(keys), self.size)
        first = len(keys) - kept
        slots = (self.count + first + torch.arange(kept, device=self.keys.device)) % self.size
        self.keys.index_copy_(0, slots, keys[first:].to(self.keys.dtype))
        self.ids.index_copy_(0, slots, ids[first:])
        self.count += len(keys)

    @property
    def filled(self) -> Tensor:
        """Shape (Q,), true for slots that hold a key."""
        return torch.arange(self.size, device=self.keys.device) < self.count

    @property
    def fill(self) -> Tensor:
        """Share of the slots that are filled, a scalar."""
        return self.count.clamp_max(self.size) / self.size

    def in_order(self) -> tuple[Tensor, Tensor]:
        """Keys and their sentences, oldest first; waits for the device."""
        count = int(self.count)
        if count <= self.size:
            return self.keys[:count], self.ids[:count]
        start = count % self.size
        return self.keys.roll(-start, dims=0), self.ids.roll(-start, dims=0)


class MomentumCopy(nn.Module):
    """A slow copy of some modules, all of whose tensors are buffers.

    As buffers they are in every checkpoint, and no optimizer and no gradient can reach them. The copy is always in
    evaluation
    mode: its dropout is off, as ESimCSE does.

    Args:
        modules: The modules to follow.
    """

    def __init__(self, modules: nn.ModuleDict) -> None:
        super().__init__()
        self.copies = copy.deepcopy(modules)
        for module in self.copies.modules():
            for name, weight in list(module.named_parameters(recurse=False)):
                delattr(module, name)
                module.register_buffer(name, weight.detach().clone())
        self.copies.eval()

    def train(self, mode: bool = True) -> MomentumCopy:  # noqa: ARG002, FBT001, FBT002  the signature is torch's
        """Stay in evaluation mode."""
        return super().train(mode=False)

    @torch.no_grad()
    def update(self, modules: nn.ModuleDict, decay: float) -> None:
        """Move towards ``modules``: every weight becomes ``decay`` × itself + (1 − ``decay``) × the new one.

        Args:
            modules: The modules it follows, as given at the start.
            decay: From 0 (copy) to 1 (stand still).
        """
        own = dict(self.copies.named_buffers())
        pairs = [(own[name], weight) for name, weight in modules.named_parameters()]
        if pairs:
            slow, fast = zip(*pairs, strict=True)
            torch._foreach_lerp_(list(slow), [w.detach() for w in fast], 1.0 - decay)


class Clusterer(nn.Module):
    """The prototypes of the cluster filter.

    Args:
        settings: Its parameters.
        dim: Length of the vectors.
    """

    def __init__(self, settings: ClusterFilter, dim: int) -> None:
        super().__init__()
        self.settings = settings
        self.prototypes = nn.Parameter(F.normalize(torch.randn(settings.prototypes, dim), dim=1))

    def scores(self, vectors: Tensor) -> Tensor:
        """Cosines of vectors (N, d) to the prototypes, shape (N, K)."""
        return F.normalize(vectors, dim=1) @ F.normalize(self.prototypes, dim=1).T

    def loss(self, first: Tensor, second: Tensor) -> Tensor:
        """SwAV's swapped prediction for two views (N, d) of the batch."""
        s = self.settings
        return objectives.swav(
            self.scores(first),
            self.scores(second),
            temperature=s.temperature,
            epsilon=s.epsilon,
            iterations=s.iterations,
        )

    @torch.no_grad()
    def clusters(self, batch: Tensor, queue: Tensor | None, filled: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Balanced assignment of batch and queue together.

        Args:
            batch: Vectors of the batch, shape (N, d).
            queue: Keys, shape (Q, d), or None.
            filled: Which of them count, shape (Q,).

        Returns:
            Cluster of each sentence of the batch, (N,), and of each key, (Q,), −1 for a slot that was never filled.
        """
        scores = self.scores(batch)
        if queue is None or filled is None:
            return self._assign(scores).argmax(dim=1), None
        together = torch.cat([scores, self.scores(queue)])
        counts = torch.cat([filled.new_ones(len(batch)), filled])
        codes = self._assign(together, counts).argmax(dim=1)
        return codes[: len(batch)], torch.where(filled, codes[len(batch) :], -1)

    def _assign(self, scores: Tensor, counts: Tensor | None = None) -> Tensor:
        weights = None if counts is None else counts.to(scores.dtype)
        return objectives.sinkhorn_knopp(
            scores, epsilon=self.settings.epsilon, iterations=self.settings.iterations, weights=weights
        )


def same_cluster(first: Tensor, second: Tensor) -> Tensor:
    """Shape (N, M), true where two items are in one cluster; −1 belongs to none."""
    return (first[:, None] == second[None, :]) & (first[:, None] >= 0)


def known_positives(ids: Tensor, others: Tensor, codes: Tensor, n_sentences: int) -> Tensor:
    """Which pairs of sentences are known to mean the same.

    Args:
        ids: Sentences, shape (N,).
        others: Sentences, shape (M,); −1 for none.
        codes: Sorted codes ``a * n_sentences + b`` of the known positive pairs, in both directions, shape (P,).
        n_sentences: Number of sentences in all.

    Returns:
        Shape (N, M): the same sentence, or a pair graded as a paraphrase.
    """
    wanted = ids[:, None] * n_sentences + others[None, :]
    found = torch.zeros_like(wanted, dtype=torch.bool)
    if len(codes):
        place = torch.searchsorted(codes, wanted).clamp_max(len(codes) - 1)
        found = codes[place] == wanted
    return (found | (ids[:, None] == others[None, :])) & (others >= 0)[None, :]
