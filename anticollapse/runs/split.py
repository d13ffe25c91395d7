"""Hold pairs out of a file that has no dev pairs of its own."""

from __future__ import annotations

import numpy as np

from anticollapse.data import PairSet, normalise

SHARE = 0.2
LEAST, MOST = 10, 1000


def hold_out(pairs: PairSet, *, seed: int = 0) -> tuple[PairSet, PairSet | None]:
    """Split scored pairs into those to train on and those to choose the best step on.

    A fifth of the pairs is held out, 1,000 at most. A pair that occurs several times is on one side only.

    Args:
        pairs: A whole file.
        seed: Which pairs are held out.

    Returns:
        Training pairs and dev pairs; all pairs and None when they are too few or have no scores.
    """
    n = min(round(SHARE * pairs.n), MOST)
    if n < LEAST or not (pairs.labelled and pairs.has_pairs):
        return pairs, None
    first, second = pairs.require_pairs()
    keys = [tuple(sorted((normalise(a), normalise(b)))) for a, b in zip(first, second, strict=True)]
    chosen = np.random.default_rng(seed).permutation(pairs.n)[:n]
    held = {keys[i] for i in chosen}
    mask = np.array([key in held for key in keys])
    train, dev = pairs.subset(~mask), pairs.subset(mask)
    if train.n < LEAST:
        return pairs, None
    return train, dev
