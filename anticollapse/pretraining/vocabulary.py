"""The WordPiece vocabulary: trained with ``tokenizers``, the same one each time."""

from __future__ import annotations

import logging
import unicodedata
from collections import Counter
from collections.abc import Sequence

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from anticollapse.errors import OptionError

logger = logging.getLogger(__name__)

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, UNK, CLS, SEP, MASK = range(5)
PREFIX = "##"
COVERAGE = 0.9995
"""Share of all characters that the alphabet covers; words with another character become [UNK]."""
ALPHABET_SHARE = 0.8
"""Most of the vocabulary that single characters may take."""
SAMPLE = 400_000
"""Lines at most that the vocabulary is counted on."""


def train_vocabulary(lines: Sequence[str], size: int) -> Tokenizer:
    """Train an uncased WordPiece vocabulary.

    Chinese characters are always tokens of their own, whatever the language, as in BERT. The trainer of ``tokenizers``
    numbers continuation pieces in the order of a hash table, which differs from run to run, and breaks ties by these
    numbers; here they are numbered beforehand, so the same text always gives the same vocabulary.

    Args:
        lines: Text.
        size: Entries, special tokens included; fewer come out when the text is short.

    Raises:
        OptionError: If the size leaves no room for characters and pieces.
    """
    check_size(size)
    step = -(-len(lines) // SAMPLE)
    chosen = lines[::step]
    empty = wrap({token: i for i, token in enumerate(SPECIAL)})
    alphabet = _alphabet(empty, chosen, int(ALPHABET_SHARE * size))
    inner = [PREFIX + char for char in alphabet if not _stands_alone(char)]
    inner = inner[: max(0, size - len(SPECIAL) - len(alphabet))]
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=[*SPECIAL, *inner],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        continuing_subword_prefix=PREFIX,
        show_progress=False,
    )
    empty.train_from_iterator(chosen, trainer, length=len(chosen))
    ids = empty.get_vocab(with_added_tokens=False)
    ordered = sorted(ids, key=ids.__getitem__)[:size]
    logger.info("vocabulary of %d entries, %d of them characters", len(ordered), len(alphabet))
    return wrap({token: i for i, token in enumerate(ordered)})


def check_size(size: int) -> None:
    """Refuse a size that cannot be, before anything long begins.

    Raises:
        OptionError: If it is out of bounds.
    """
    if not 64 <= size <= 65_536:
        raise OptionError(f"--vocabulary {size} is out of bounds", remedy="From 64 to 65,536 entries")


def wrap(vocabulary: dict[str, int]) -> Tokenizer:
    """An uncased BERT tokenizer with this vocabulary.

    Args:
        vocabulary: Number of each token; the special tokens have 0 to 4.
    """
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=SPECIAL[UNK], continuing_subword_prefix=PREFIX))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)],
    )
    tokenizer.decoder = decoders.WordPiece(prefix=PREFIX)
    if all(token in vocabulary for token in SPECIAL):
        tokenizer.add_special_tokens(list(SPECIAL))
    return tokenizer


def _alphabet(tokenizer: Tokenizer, lines: Sequence[str], most: int) -> list[str]:
    """The characters that cover the text, the most frequent first."""
    counts: Counter[str] = Counter()
    for line in lines:
        counts.update(tokenizer.normalizer.normalize_str(line))
    for char in [char for char in counts if char.isspace()]:
        del counts[char]
    total, seen = sum(counts.values()), 0
    chosen: list[str] = []
    for char, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if seen >= COVERAGE * total or len(chosen) == most:
            break
        chosen.append(char)
        seen += count
    return chosen


def _stands_alone(char: str) -> bool:
    """Whether the tokenizer makes a word of this character wherever it stands, so that it never continues one."""
    code = ord(char)
    chinese = (
        0x4E00 <= code <= 0x9FFF
        or 0x3400 <= code <= 0x4DBF
        or 0xF900 <= code <= 0xFAFF
        or 0x20000 <= code <= 0x2CEAF
        or 0x2F800 <= code <= 0x2FA1F
    )
    return chinese or unicodedata.category(char).startswith("P") or char in "$+<=>^`|~"
