"""Everything that is trained or kept in a training, as one module whose forward pass gives the losses of a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from anticollapse.encoding import Encoder
from anticollapse.errors import TrainingError
from anticollapse.training.augmentations import Adversarial, Dropout, EmbeddingAugmentation, EmbeddingHook
from anticollapse.training.batch import Batch, TokenRows
from anticollapse.training.contrast import Contrast
from anticollapse.training.data import TrainingData
from anticollapse.training.distributed import gather_towers
from anticollapse.training.heads import CrossAttentionBlock
from anticollapse.training.negatives import MomentumCopy, known_positives
from anticollapse.training.variant import Variant


class System(nn.Module):
    """Encoder, head, momentum copy, queue, prototypes and loss of one variant.

    Args:
        variant: What is trained.
        encoder: The backbone; its modules are trained in place.
        data: The training data.
        batch_size: Items a step, over all processes.
        use_bfloat16: Compute the transformer in bfloat16 (weights, pooling and losses stay in float32).
    """

    positives: Tensor

    def __init__(
        self, variant: Variant, encoder: Encoder, data: TrainingData, *, batch_size: int, use_bfloat16: bool
    ) -> None:
        super().__init__()
        self.variant, self.encoder = variant, encoder
        self.use_bfloat16 = use_bfloat16
        self.prompt_length = data.tokens.prompt_length
        self.trained = nn.ModuleDict({"encoder": nn.ModuleList(list(encoder.model))})
        config = self.transformer.config
        if variant.head is not None:
            heads, dropout = int(getattr(config, "num_attention_heads", 1)), _dropout_rate(variant, config)
            width = encoder.dim if variant.head.takes == "vectors" else int(config.hidden_size)
            self.trained["head"] = variant.head.build(width, heads, dropout)
        self.contrast = None if variant.contrast is None else self._contrast(encoder.dim, data, batch_size)
        self.momentum = None if variant.momentum is None else MomentumCopy(self.trained)
        self.n_sentences = data.n_sentences
        # Derived from the data, so no part of the state.
        self.register_buffer("positives", torch.from_numpy(data.positives), persistent=False)
        self._set_dropout()
        self.hook = EmbeddingHook(self.transformer) if self._changes_embeddings() else None

    def _contrast(self, dim: int, data: TrainingData, batch_size: int) -> Contrast:
        if self._head_on("contrast"):
            with torch.no_grad():
                head = self.trained["head"]
                dim = head(torch.zeros(2, dim, device=next(head.parameters()).device)).shape[1]
        return Contrast(
            self.variant,
            dim,
            keys_per_step=batch_size * data.items.shape[1],
            n_sentences=data.n_sentences,
            positives=torch.from_numpy(data.positives),
        )

    @property
    def modules_of_encoder(self) -> list[nn.Module]:
        """The sentence-transformers modules, in order."""
        return list(self.trained["encoder"].children())

    @property
    def transformer(self) -> Any:  # noqa: ANN401  its methods are dynamic
        """The transformers model inside."""
        first: Any = self.modules_of_encoder[0]
        return first.auto_model

    @property
    def head(self) -> nn.Module | None:
        """The training-only head."""
        return self.trained["head"] if "head" in self.trained else None  # noqa: SIM401  ModuleDict has no get

    def training_only_state(self) -> dict[str, Tensor]:
        """Weights that do not become part of the encoder: head, predictor, prototypes."""
        state = {k: v for k, v in self.state_dict().items() if not k.startswith(("trained.encoder.", "momentum."))}
        return {k: v for k, v in state.items() if not k.startswith("contrast.queue.")}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses and telemetry of a step.

        Args:
            batch: This process's part; losses are over the parts of all processes.

        Returns:
            ``loss`` (the weighted sum), ``term/…`` (its parts), ``stat/…`` (telemetry), and ``keys`` with ``key_ids``
            when a queue waits for them.
        """
        keys = None if self.momentum is None else self._momentum_vectors(batch)
        self._prepare_embeddings(batch, keys)
        given = self._run(self.modules_of_encoder, batch.rows)
        if self.hook is not None:
            self.hook.change = None
        n, towers = batch.n_rows, batch.towers
        views = [
            gather_towers(part, batch.counts, towers)
            for part in torch.split(given["sentence_embedding"].float(), n)  # one (B × towers, d) a view
        ]
        terms: dict[str, Tensor] = {}
        stats: dict[str, Tensor] = {}
        if self.variant.supervised is not None and batch.labels is not None:
            first, second = self._pair_vectors(views[0], given, batch)
            supervised = self.variant.supervised
            mined = {"related": self._related(batch.ids)} if supervised.mines else {}
            terms["supervised"] = supervised.weight * supervised.loss(first, second, batch.labels, **mined)
        if self.contrast is not None:
            first, second = (self._for_contrast(view) for view in views)
            contrast_terms, stats = self.contrast(first, second, keys, batch.ids, towers)
            terms |= contrast_terms
        out = {"loss": torch.stack(list(terms.values())).sum()}
        out |= {f"term/{name}": term.detach() for name, term in terms.items()}
        out |= {f"stat/{name}": stat.detach() for name, stat in stats.items()}
        if keys is not None and self.contrast is not None and self.contrast.queue is not None:
            out |= {"keys": keys, "key_ids": batch.ids}
        return out

    def after_loss(self, out: dict[str, Tensor]) -> None:
        """Put the step's keys into the queue; they are negatives from the next step on."""
        if "keys" in out and self.contrast is not None and self.contrast.queue is not None:
            self.contrast.queue.enqueue(out["keys"], out["key_ids"])

    def after_step(self) -> None:
        """Let the momentum copy follow the weights that the optimizer has just changed."""
        if self.momentum is not None and self.variant.momentum is not None:
            self.momentum.update(self.trained, self.variant.momentum.decay)

    def vectors(self, rows: TokenRows) -> Tensor:
        """Sentence vectors without any head, float32, shape (R, d), computed as the finished encoder will."""
        out: Tensor = self._run(self.modules_of_encoder, rows, exact=True)["sentence_embedding"]
        return out.float()

    def pair_scores(self, rows: TokenRows) -> Tensor:
        """Cosines of pairs through the head on their tokens.

        Args:
            rows: The B first sentences above the B second ones.

        Returns:
            Shape (B,).

        Raises:
            TrainingError: If the variant has no such head.
        """
        block = self.head
        if not isinstance(block, CrossAttentionBlock):
            raise TrainingError(f"{self.variant.title} gives vectors, no pair scores")
        given = self._run(self.modules_of_encoder, rows, exact=True)
        first, second = block.pair_vectors(given["token_embeddings"], rows.mask)
        return torch.cosine_similarity(first, second)

    def _related(self, ids: Tensor) -> Tensor:
        """Which sentences of the batch are the same or known to mean the same, shape (N, N)."""
        return known_positives(ids, ids, self.positives, self.n_sentences)

    def _pair_vectors(self, view: Tensor, given: dict[str, Any], batch: Batch) -> tuple[Tensor, Tensor]:
        head = self.head
        if isinstance(head, CrossAttentionBlock):
            n = batch.n_rows
            pair = head.pair_vectors(given["token_embeddings"][:n], batch.rows.mask[:n])
            view = gather_towers(torch.cat(pair), batch.counts, 2)
        elif head is not None and self._head_on("supervised"):
            view = head(view)
        first, second = view.chunk(2)
        return first, second

    def _for_contrast(self, view: Tensor) -> Tensor:
        head = self.head
        if head is None or not self._head_on("contrast"):
            return view
        projected: Tensor = head(view)
        return projected

    def _head_on(self, term: str) -> bool:
        head = self.variant.head
        return head is not None and head.takes == "vectors" and head.applies_to in {term, "both"}

    @torch.no_grad()
    def _momentum_vectors(self, batch: Batch) -> Tensor:
        if self.momentum is None:
            msg = f"the variant {self.variant.id} has no momentum encoder"
            raise RuntimeError(msg)
        copies = self.momentum.copies
        rows = batch.original or batch.rows.slice(slice(batch.n_rows))
        vectors = self._run(list(copies["encoder"].children()), rows)["sentence_embedding"].float()
        gathered = gather_towers(vectors, batch.counts, batch.towers)
        if self._head_on("contrast"):
            gathered = copies["head"](gathered)
        return gathered

    def _run(self, modules: Sequence[nn.Module], rows: TokenRows, *, exact: bool = False) -> dict[str, Any]:
        given: dict[str, Any] = rows.features()
        if self.prompt_length is not None:
            given["prompt_length"] = self.prompt_length
        with torch.autocast(rows.ids.device.type, torch.bfloat16, enabled=self.use_bfloat16 and not exact):
            given = modules[0](given)
        given["token_embeddings"] = given["token_embeddings"].float()  # pooling in bfloat16 would lose digits
        for module in modules[1:]:
            given = module(given)
        return given

    def _changes_embeddings(self) -> bool:
        return any(
            isinstance(a, EmbeddingAugmentation) or (isinstance(a, Adversarial) and a.epsilon > 0)
            for a in self.variant.augmentations
        )

    def _prepare_embeddings(self, batch: Batch, keys: Tensor | None) -> None:
        """Set what the embedding layer's output goes through in this step."""
        if self.hook is None:
            return
        masks = [a for a in self.variant.augmentations if isinstance(a, EmbeddingAugmentation)]
        attacks = [a for a in self.variant.augmentations if isinstance(a, Adversarial) and a.epsilon > 0]
        steps = [(attack, self._attack(attack, batch, keys)) for attack in attacks]

        def change(embeddings: Tensor) -> Tensor:
            parts = list(torch.split(embeddings, batch.n_rows))
            specials = torch.split(batch.rows.special, batch.n_rows)
            for view, special in enumerate(specials, start=1):
                for augmentation in masks:
                    if augmentation.changes(view):
                        mask = augmentation.mask(special, embeddings.shape[2])
                        parts[view - 1] = parts[view - 1] * mask.to(embeddings.dtype)
                for attack, step in steps:
                    if attack.changes(view):
                        start = (view - 1) * batch.n_rows
                        parts[view - 1] = parts[view - 1] + step[start : start + batch.n_rows].to(embeddings.dtype)
            return torch.cat(parts)

        self.hook.change = change

    def _attack(self, attack: Adversarial, batch: Batch, keys: Tensor | None) -> Tensor:
        """A step along the gradient of the contrast, from a pass of its own."""
        seen: list[Tensor] = []

        def capture(embeddings: Tensor) -> Tensor:
            seen.append(embeddings)
            return embeddings

        if self.hook is None or self.contrast is None:
            msg = f"the variant {self.variant.id} has no contrast to attack"
            raise RuntimeError(msg)
        self.hook.change = capture
        vectors = self._run(self.modules_of_encoder, batch.rows)["sentence_embedding"].float()
        views = [gather_towers(part, batch.counts, batch.towers) for part in torch.split(vectors, batch.n_rows)]
        first, second = (self._for_contrast(view) for view in views)
        loss = self.contrast.plain_loss(first, second, keys, batch.ids, batch.towers)
        (gradient,) = torch.autograd.grad(loss, seen[0])
        return attack.step(gradient, seen[0].detach())

    def _set_dropout(self) -> None:
        for augmentation in self.variant.augmentations:
            if isinstance(augmentation, Dropout):
                for module in self.transformer.modules():
                    if isinstance(module, nn.Dropout):
                        module.p = augmentation.rate


def _dropout_rate(variant: Variant, config: object) -> float:
    for augmentation in variant.augmentations:
        if isinstance(augmentation, Dropout):
            return augmentation.rate
    return float(getattr(config, "hidden_dropout_prob", getattr(config, "dropout", 0.1)))
