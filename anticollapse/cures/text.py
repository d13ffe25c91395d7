"""Which text a training-free cure is fitted on: training text, never the pairs it is judged on."""

from __future__ import annotations

from anticollapse.data import SOURCES, PairSet, load_pairs


def fit_source(pairs: str) -> str:
    """The name of the training text that belongs to a set.

    Args:
        pairs: A named set, with or without a split, or a file.

    Returns:
        ``NAME:train`` for a named set; ``demo:train`` for a file, whose own rows are what the cure is judged on.
    """
    name = pairs.partition(":")[0]
    return f"{name if name in SOURCES else 'demo'}:train"


def fit_pairs(pairs: str) -> PairSet:
    """The training text of :func:`fit_source`, read.

    Raises:
        DataError: It is not to be had here.
    """
    return load_pairs(fit_source(pairs))
