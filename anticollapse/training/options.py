"""Options of a training that do not depend on the variant."""

from __future__ import annotations

from dataclasses import dataclass

from anticollapse.encoding.precision import Precision
from anticollapse.errors import OptionError
from anticollapse.training.parameters import check_fields, parameter
from anticollapse.training.variant import Variant

REFERENCE_WIDTH = 768
"""Width of the backbone for which the variants' learning rates are meant."""

DEFAULT_EVALUATIONS = 10
MOST_UNSEEN_STEPS = 1000
"""Steps after which even a long run looks at itself: a collapse should be told while it happens."""


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How long, how fast, how often measured.

    Zero stands for "the variant's default" or "automatic" where the help says so.

    Raises:
        OptionError: If a value is out of bounds, or both steps and epochs are given.
    """

    steps: int = parameter(0, "optimizer steps (0 = by epochs)", minimum=0, maximum=100_000_000)
    epochs: float = parameter(0.0, "passes over the data (0 = the variant's default)", minimum=0, maximum=10_000)
    batch_size: int = parameter(
        0,
        "pairs a step over all processes, sentences for variants without labels (0 = the variant's default)",
        minimum=0,
        maximum=1_000_000,
    )
    accumulation: int = parameter(1, "batches whose gradients make one optimizer step", minimum=1, maximum=10_000)
    learning_rate: float = parameter(
        0.0, "peak learning rate (0 = the variant's default, more for narrow backbones)", minimum=0, maximum=1
    )
    warmup: float = parameter(0.1, "share of the steps in which the learning rate rises", minimum=0, maximum=1)
    weight_decay: float = parameter(0.0, "decoupled weight decay of AdamW", minimum=0, maximum=1)
    max_grad_norm: float = parameter(
        1.0, "gradients longer than this are shortened (0 = never)", minimum=0, maximum=1e9
    )
    evaluate_every: int = parameter(
        0, "steps between two evaluations on dev (0 = a tenth of the run, at most 1,000)", minimum=0, unit="steps"
    )
    patience: int = parameter(
        5,
        "evaluations in a row without a better dev Spearman after which the run ends (0 = never); without a stated "
        "interval, tenths of the run",
        minimum=0,
    )
    checkpoint_every: int = parameter(
        0, "steps between two checkpoints to resume from (0 = at each evaluation)", minimum=0, unit="steps"
    )
    seed: int = parameter(0, "seed of initial weights, data order and dropout", minimum=0, maximum=2**31 - 1)
    precision: Precision = parameter(  # noqa: RUF009  it is a dataclass field like the others
        "auto",
        "auto takes bfloat16 where the hardware has it and a check passes",
        choices=("auto", "float32", "bfloat16"),
    )
    threads: int = parameter(0, "CPU threads (0 = torch's default)", minimum=0, maximum=1024)

    def patience_unit(self, steps: int) -> int:
        """Steps that count as one evaluation for the patience.

        Args:
            steps: Length of the run.
        """
        return self.evaluate_every or max(1, round(steps / DEFAULT_EVALUATIONS))

    def evaluation_interval(self, steps: int) -> int:
        """Steps between two evaluations.

        Args:
            steps: Length of the run.
        """
        return self.evaluate_every or min(self.patience_unit(steps), MOST_UNSEEN_STEPS)

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        check_fields(self)
        if self.steps and self.epochs:
            raise OptionError("both steps and epochs are given", remedy="Give one of --steps and --epochs")


def learning_rate(options: TrainingOptions, variant: Variant, width: int) -> float:
    """The peak learning rate.

    Args:
        options: If they name one, it is taken.
        variant: Else its default for a backbone 768 wide, in inverse proportion to the width: narrow networks take,
            and need, larger steps.
        width: Hidden size of the backbone.
    """
    return options.learning_rate or variant.defaults.learning_rate * REFERENCE_WIDTH / width


def rate_at(step: int, steps: int, peak: float, warmup: float) -> float:
    """Learning rate of a step: linear rise, then linear fall to zero.

    Args:
        step: Steps done before this one.
        steps: Steps in all.
        peak: Highest rate.
        warmup: Share of the steps in which it rises.
    """
    rising = round(warmup * steps)
    if step < rising:
        return peak * (step + 1) / rising
    return peak * (steps - step) / max(steps - rising, 1)
