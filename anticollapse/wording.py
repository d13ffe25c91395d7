"""Words that several parts of the package put together alike."""

from __future__ import annotations


def count(n: int, noun: str) -> str:
    """A number with its noun: ``1 row``, ``1,379 rows``.

    Args:
        n: How many.
        noun: In the singular; its plural ends in s.
    """
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
