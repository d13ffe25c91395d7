"""What language a text is in, as far as a default depends on it."""

from __future__ import annotations

from collections.abc import Sequence

SAMPLE, LETTERS = 200, 20_000
"""Sentences, and characters of them, that are looked at."""
CHINESE_SET = "stsb-zh"
"""The named set in Chinese."""


def mostly_chinese(sentences: Sequence[str]) -> bool:
    """Whether most letters of a text are Chinese characters, and it is no Japanese.

    Args:
        sentences: The text; the first ones decide.
    """
    letters = [character for character in "".join(sentences[:SAMPLE])[:LETTERS] if character.isalpha()]
    han = sum("\u4e00" <= character <= "\u9fff" for character in letters)
    kana = sum("\u3040" <= character <= "\u30ff" for character in letters)  # Japanese has them besides
    return han > len(letters) / 2 and kana < han / 10
