"""Tokens as people read them, whatever the tokenizer writes: ``##ing``, ``▁the``, ``Ġthe``, ``ä¸Ń``."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal

TokenStyle = Literal["wordpiece", "sentencepiece", "byte-level", "plain"]

CONTINUED = "…"
"""Before a piece that continues a word."""

SPACE = "␣"

_BYTE_FALLBACK = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_NAMES = {" ": SPACE, "\n": "↵", "\t": "⇥", "\r": "↵", "\u00a0": SPACE, "\u3000": SPACE}
_DECODERS: Mapping[str, TokenStyle] = {
    "WordPiece": "wordpiece",
    "Metaspace": "sentencepiece",
    "ByteLevel": "byte-level",
}


def token_style(tokenizer: Any) -> TokenStyle:  # noqa: ANN401  tokenizers share no base that can be named
    """How a tokenizer marks the start or the continuation of words.

    Args:
        tokenizer: A transformers tokenizer.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    decoder = type(getattr(backend, "decoder", None)).__name__
    return _DECODERS.get(decoder) or style_of(list(tokenizer.get_vocab()))


def style_of(vocabulary: Sequence[str]) -> TokenStyle:
    """The style that most tokens of a vocabulary show.

    Args:
        vocabulary: Token strings.
    """
    marks: dict[str, TokenStyle] = {"##": "wordpiece", "▁": "sentencepiece", "Ġ": "byte-level"}
    counts = {style: sum(t.startswith(mark) and t != mark for t in vocabulary) for mark, style in marks.items()}
    best = max(counts, key=lambda style: counts[style])
    return best if counts[best] else "plain"


def readable(token: str, style: TokenStyle, *, starts: bool = False) -> str:
    """One token for people.

    A piece that continues a word is marked by ``…`` (only in scripts that put spaces between words: Chinese characters
    stand alone); bytes that are no whole character are shown as ``‹E4 B8›``; white space is made visible.

    Args:
        token: As the tokenizer writes it.
        style: See :func:`token_style`.
        starts: The token starts its sentence, so it continues nothing.
    """
    if style == "wordpiece":
        word, continued = (token[2:], True) if token.startswith("##") and len(token) > 2 else (token, False)
    elif style == "sentencepiece":
        code = _BYTE_FALLBACK.fullmatch(token)
        if code:
            return f"‹{code[1].upper()}›"
        word, continued = token.lstrip("▁") or " ", not token.startswith("▁")
    elif style == "byte-level":
        text = _decode_bytes(token)
        if isinstance(text, bytes):
            return "‹" + " ".join(f"{byte:02X}" for byte in text) + "›"
        word, continued = (text[1:] or " ", False) if text.startswith(" ") else (text, True)
    else:
        word, continued = token.removesuffix("</w>"), False
    mark = CONTINUED if continued and not starts and word and _in_spaced_word(word[0]) else ""
    return mark + _visible(word)


def readable_types(tokens: Sequence[str], inner: Sequence[bool], style: TokenStyle) -> list[str]:
    """Different tokens for people, outside of their sentences; those that would look alike show where they stand.

    ``中`` inside a word and ``▁中`` at its start are two tokens: the second is shown as ``␣中``.

    Args:
        tokens: As the tokenizer writes them.
        inner: Whether each was ever seen behind another token: at the start of a sentence none continues anything.
        style: See :func:`token_style`.
    """
    labels = [readable(token, style, starts=not behind) for token, behind in zip(tokens, inner, strict=True)]
    seen = Counter(labels)
    return [
        _marked(token, style) + label if seen[label] > 1 else label for token, label in zip(tokens, labels, strict=True)
    ]


def _marked(token: str, style: TokenStyle) -> str:
    """What tells a token that starts (or, in WordPiece, continues) a word from its twin."""
    marks = {"wordpiece": ("##", CONTINUED), "sentencepiece": ("▁", SPACE), "byte-level": ("Ġ", SPACE)}
    written, shown = marks.get(style, ("", ""))
    return shown if written and token.startswith(written) and token != written else ""


def readable_sentence(tokens: Sequence[str], special: Sequence[bool], style: TokenStyle) -> list[str]:
    """The tokens of one sentence for people; special tokens as they are.

    Args:
        tokens: As the tokenizer writes them.
        special: Whether each is one of the tokenizer's own.
        style: See :func:`token_style`.
    """
    out: list[str] = []
    started = False
    for token, own in zip(tokens, special, strict=True):
        out.append(token if own else readable(token, style, starts=not started))
        started = started or not own
    return out


def _visible(text: str) -> str:
    if not text:
        return "‹›"
    return "".join(
        _NAMES.get(c) or (f"‹U+{ord(c):04X}›" if unicodedata.category(c)[0] == "C" or c.isspace() else c) for c in text
    )


def _in_spaced_word(character: str) -> bool:
    """Whether the character belongs to a script that separates words by spaces."""
    if not character.isalnum():
        return False
    name = unicodedata.name(character, "")
    unspaced = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "FULLWIDTH", "IDEOGRAPHIC")
    return not name.startswith(unspaced)


def _decode_bytes(token: str) -> str | bytes:
    """Byte-level BPE writes bytes as printable characters: the text again, or bytes that are no whole character."""
    table = _byte_table()
    if any(c not in table for c in token):
        return token  # an added token, written as it is
    raw = bytes(table[c] for c in token)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw


@cache
def _byte_table() -> dict[str, int]:
    """GPT-2's table: printable Latin-1 characters stand for themselves, the other bytes for U+0100 and up."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(byte): byte for byte in printable}
    others = [byte for byte in range(256) if byte not in set(printable)]
    table.update({chr(256 + i): byte for i, byte in enumerate(others)})
    return table
