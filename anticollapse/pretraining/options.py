"""Options of a pre-training: what it is, how long, how it starts."""

from __future__ import annotations

import re
from dataclasses import dataclass

from anticollapse.encoding.precision import Precision
from anticollapse.errors import OptionError
from anticollapse.training.parameters import check_fields, parameter

SIZES = {"tiny": (2, 128), "mini": (4, 256), "small": (6, 384)}
"""Layers and width of the named sizes."""

HEAD_WIDTH = 64
REFERENCE_WIDTH, REFERENCE_STD = 256, 0.05
MAX_TOKENS = 256
"""Longest input of the encoder that comes out, [CLS] and [SEP] counted."""
MOST_ENTRIES = 20_000
"""Vocabulary at most for word vectors from neighbours: all pairs of its entries are in memory at once, thrice."""
BATCH_TOKENS_CPU, BATCH_TOKENS_GPU = 4096, 16384


@dataclass(frozen=True)
class Size:
    """The shape of a network.

    Attributes:
        layers: Transformer layers.
        width: Hidden size; a head is 64 wide.
    """

    layers: int
    width: int

    @property
    def heads(self) -> int:
        """Attention heads."""
        return max(1, self.width // HEAD_WIDTH)

    def __str__(self) -> str:
        """As the command line writes it."""
        return f"{self.layers}x{self.width}"


def parse_size(text: str) -> Size:
    """A size by its name, or as LAYERSxWIDTH.

    Args:
        text: ``mini``, ``4x256``, …

    Raises:
        OptionError: If it is neither, or the width is no multiple of 64.
    """
    known = ", ".join(f"{name} ({a}x{b})" for name, (a, b) in SIZES.items())
    if text in SIZES:
        return Size(*SIZES[text])
    found = re.fullmatch(r"([0-9]{1,2})[x×]([0-9]{2,4})", text)
    if not found:
        raise OptionError(f"--size {text[:40]} is no size", remedy=f"Give {known} or LAYERSxWIDTH")
    size = Size(int(found[1]), int(found[2]))
    if size.width % HEAD_WIDTH and size.width != HEAD_WIDTH // 2:
        raise OptionError(f"--size {text}: the width is no multiple of {HEAD_WIDTH}", remedy="A head is 64 wide")
    if not 1 <= size.layers <= 48 or size.width > 2048 or size.width == 0:
        raise OptionError(f"--size {text} is out of bounds", remedy="From 1x64 to 48x2048")
    return size


@dataclass(frozen=True, kw_only=True)
class PretrainingOptions:
    """What is trained and for how long.

    Exactly one of ``minutes``, ``tokens`` and ``passes`` ends the run: the learning rate rises and falls over it, and a
    resumed run goes on where it was. Zero stands for "automatic" where the help says so.

    Raises:
        OptionError: If a value is out of bounds, or not exactly one of minutes, tokens and passes is given.
    """

    size: str = parameter("mini", "size of the network: " + ", ".join(SIZES) + " or LAYERSxWIDTH")
    minutes: float = parameter(0.0, "length by the clock, over all resumed parts", minimum=0, maximum=100_000)
    tokens: int = parameter(0, "length in tokens, repeated passes counted", minimum=0, maximum=10**13)
    passes: float = parameter(0.0, "length in passes over the text", minimum=0, maximum=1_000_000)
    batch_tokens: int = parameter(
        0,
        f"tokens a step (0 = {BATCH_TOKENS_CPU:,} on a CPU, {BATCH_TOKENS_GPU:,} on a GPU); small batches make many "
        "steps of a small budget",
        minimum=0,
        maximum=1_048_576,
    )
    learning_rate: float = parameter(1e-3, "peak learning rate", minimum=0, maximum=1)
    warmup: float = parameter(0.03, "share of the run in which the learning rate rises", minimum=0, maximum=1)
    weight_decay: float = parameter(0.01, "decoupled weight decay of the matrices", minimum=0, maximum=1)
    max_grad_norm: float = parameter(1.0, "gradients longer than this are shortened", minimum=1e-6, maximum=1e9)
    mask_rate: float = parameter(0.3, "share of the tokens that are predicted", minimum=0.01, maximum=0.9)
    long_share: float = parameter(
        0.1, "share of the tokens in sequences of up to 256 tokens; the others have up to 64", minimum=0, maximum=1
    )
    dropout: float = parameter(0.0, "dropout in pre-training; the encoder is saved with 0.1", minimum=0, maximum=0.9)
    initial_std: float = parameter(
        0.0, "standard deviation of initial weights (0 = 0.05 at width 256, less when wider)", minimum=0, maximum=1
    )
    sinusoids: bool = parameter(default=True, description="start the position table as sinusoids")
    offset_heads: bool = parameter(
        default=True, description="start the first layer's heads looking at the offsets -1, +1, -2, +2"
    )
    word_start: str = parameter(
        "auto",
        "where the word vectors start: neighbours = singular vectors of how often tokens of the text stand together; "
        f"auto = that up to {MOST_ENTRIES:,} entries",
        choices=("auto", "neighbours", "random"),
    )
    frequency_bias: bool = parameter(
        default=True, description="start the output's bias at the log frequencies of the tokens"
    )
    position_ratio: float = parameter(
        1.7, "size of the initial position vectors in units of the word vectors", minimum=0, maximum=100
    )
    evaluations: int = parameter(10, "evaluations over the run", minimum=1, maximum=100_000)
    checkpoint_minutes: float = parameter(
        5.0, "minutes between two checkpoints to resume from", minimum=0, maximum=100_000
    )
    stop_after: float = parameter(
        0.0, "minutes after which this part ends, to be resumed (0 = none)", minimum=0, maximum=100_000
    )
    seed: int = parameter(0, "seed of initial weights, order and masks", minimum=0, maximum=2**31 - 1)
    precision: Precision = parameter(  # noqa: RUF009  it is a dataclass field like the others
        "auto",
        "auto computes in bfloat16 where the hardware multiplies it",
        choices=("auto", "float32", "bfloat16"),
    )
    engine: str = parameter(
        "auto",
        "how steps run on a GPU: auto = compiled, in a CUDA graph, with the next simpler one as fallback",
        choices=("auto", "graph", "compile", "eager"),
    )
    threads: int = parameter(0, "CPU threads (0 = torch's default)", minimum=0, maximum=1024)

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        check_fields(self)
        parse_size(self.size)
        stated = [bool(self.minutes), bool(self.tokens), bool(self.passes)].count(True)
        if stated != 1:
            raise OptionError(
                "the length is stated " + ("more than once" if stated else "nowhere"),
                remedy="Give one of --minutes, --tokens and --passes",
            )


FREE_TO_CHANGE = ("threads", "checkpoint_minutes", "stop_after", "engine")
"""Options that may differ when a run is resumed: on the CPU they change no weight."""


def rate_at(progress: float, peak: float, warmup: float) -> float:
    """Learning rate: linear rise, then linear fall to zero.

    Args:
        progress: Share of the run that is done, 0 to 1.
        peak: Highest rate.
        warmup: Share in which it rises.
    """
    if progress < warmup:
        # Not zero at the very start: that step would be lost.
        return peak * max(progress / warmup, 0.01)
    return peak * max(1.0 - progress, 0.0) / max(1.0 - warmup, 1e-9)
