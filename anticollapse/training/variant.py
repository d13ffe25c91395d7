"""A variant: one way of training, composed of orthogonal parts."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from anticollapse.errors import OptionError
from anticollapse.training.augmentations import Augmentation
from anticollapse.training.heads import Head
from anticollapse.training.negatives import ClusterFilter, Momentum, Queue
from anticollapse.training.parameters import Parameter, Value, check_fields, parameters_of, with_values
from anticollapse.training.terms import ContrastTerm, SupervisedTerm

Gives = Literal["vectors", "pair scores"]
Needs = Literal["nothing", "sentences", "pairs", "labels"]

ID = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
SLOTS = ("supervised", "contrast", "head", "queue", "momentum", "swav")


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """Where a training of this variant starts from when nothing is said.

    Attributes:
        learning_rate: Peak learning rate for a backbone 768 wide; narrower ones get more, in inverse proportion.
        batch_size: Pairs a step, or sentences a step when there is no supervised term.
        epochs: Passes over the data.
    """

    learning_rate: float = 3e-5
    batch_size: int = 32
    epochs: float = 4.0


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way of training an encoder. Parts that are None are not there; any composition that fits together trains.

    Attributes:
        id: Name on the command line and in addresses.
        title: Name for people.
        summary: One sentence that says what is done.
        paper: Where it comes from, a link.
        claim: What has been claimed for it, to be measured.
        supervised: Loss on graded pairs.
        contrast: Loss on two views of each sentence.
        head: Network between encoder and losses, in training only.
        augmentations: How the two views differ. A supervised term beside the contrast gets the first view, so there
            give augmentations of the text to view 2 alone.
        queue: Keys of earlier batches as negatives.
        momentum: The slow encoder that makes the keys.
        swav: The filter for false negatives.
        gives: Whether the result is an encoder, or a scorer of pairs that keeps its head.
        defaults: Learning rate, batch, epochs.

    Raises:
        OptionError: If parts do not fit together or a parameter is out of bounds.
    """

    id: str
    title: str
    summary: str
    paper: str = ""
    claim: str = ""
    supervised: SupervisedTerm | None = None
    contrast: ContrastTerm | None = None
    head: Head | None = None
    augmentations: tuple[Augmentation, ...] = ()
    queue: Queue | None = None
    momentum: Momentum | None = None
    swav: ClusterFilter | None = None
    gives: Gives = "vectors"
    defaults: Defaults = dataclasses.field(default_factory=Defaults)

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        if not ID.fullmatch(self.id):
            raise OptionError(f'"{self.id}" is no name for a variant', remedy="Use small letters, digits and hyphens")
        for reason in self._obstacles():
            raise OptionError(f"the variant {self.id} cannot be trained: {reason}")
        names = [parameter.name for parameter in self.parameters]
        if len(set(names)) < len(names):
            raise OptionError(f"the variant {self.id} has two parts with the same parameters")
        for prefix, part in self._parts():
            check_fields(part, prefix)

    def _obstacles(self) -> Iterator[str]:
        contrast = self.contrast
        if self.queue is not None and (contrast is None or not contrast.uses_negatives):
            yield "a queue needs a contrast with negatives"
        if self.queue is not None and self.momentum is None:
            yield "a queue needs a momentum encoder that makes its keys"
        if self.swav is not None and (contrast is None or not contrast.uses_negatives):
            yield "a filter for false negatives needs a contrast with negatives"
        if contrast is not None and contrast.uses_targets and self.momentum is None:
            yield "its contrast needs a momentum encoder"
        if self.augmentations and contrast is None:
            yield "augmentations need a contrast"
        if self.gives == "pair scores" and (self.head is None or self.head.takes != "tokens"):
            yield "a scorer of pairs needs a head on the tokens of pairs"
        if self.head is not None and self.head.takes == "tokens" and self.supervised is None:
            yield "a head on the tokens of pairs needs a supervised term"

    def _parts(self) -> Iterator[tuple[str, Any]]:
        for slot in SLOTS:
            part = getattr(self, slot)
            if part is not None:
                yield slot, part
        for augmentation in self.augmentations:
            yield augmentation.key, augmentation

    @property
    def trains(self) -> bool:
        """Whether there is anything to train."""
        return self.supervised is not None or self.contrast is not None

    @property
    def needs(self) -> Needs:
        """The least that the training data must have."""
        if self.supervised is not None:
            return self.supervised.needs
        return "sentences" if self.contrast is not None else "nothing"

    @property
    def min_items(self) -> int:
        """Fewest items in a batch for which all losses are defined and depend on the weights."""
        supervised = 1 if self.supervised is None else self.supervised.min_items
        return supervised if self.contrast is None else max(supervised, self.contrast.min_sentences)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """All parameters of all parts, their present values as defaults."""
        return tuple(parameter for prefix, part in self._parts() for _, parameter in parameters_of(part, prefix))

    @property
    def values(self) -> dict[str, Value]:
        """The present value of each parameter."""
        return {parameter.name: parameter.default for parameter in self.parameters}

    @property
    def composition(self) -> str:
        """What is computed, texts for people left out: differs when a part, a value or a default differs."""
        return repr(
            tuple(
                getattr(self, f.name)
                for f in dataclasses.fields(self)
                if f.name not in {"title", "summary", "paper", "claim"}
            )
        )

    def with_parameters(self, values: Mapping[str, object]) -> Variant:
        """A copy with some parameters changed.

        Args:
            values: By parameter name.

        Raises:
            OptionError: If a name is unknown or a value out of bounds.
        """
        unknown = sorted(set(values) - set(self.values))
        if unknown:
            known = ", ".join(self.values) or "none"
            raise OptionError(f'{self.id} has no parameter "{unknown[0]}"', remedy=f"Its parameters are: {known}")
        changes: dict[str, Any] = {
            slot: with_values(part, values, slot) for slot in SLOTS if (part := getattr(self, slot)) is not None
        }
        changes["augmentations"] = tuple(with_values(a, values, a.key) for a in self.augmentations)
        return dataclasses.replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        """Everything a list of variants shows, as plain JSON types."""
        return {
            "id": self.id,
            "title": self.title,
            "summary": self.summary,
            "paper": self.paper,
            "claim": self.claim,
            "needs": self.needs,
            "gives": self.gives,
            "parts": {prefix: type(part).__name__ for prefix, part in self._parts()},
            "parameters": [parameter.to_json() for parameter in self.parameters],
            "defaults": dataclasses.asdict(self.defaults),
        }
