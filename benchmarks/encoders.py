"""Old and new encoders, measured alike: masked-token prediction, raw and fine-tuned correlation, collapse.

ANTICOLLAPSE_DATA=DIR python benchmarks/encoders.py raw-mini build/pretrain/run-en/model --text wiki.txt.xz

* Masked tokens: each encoder with its own vocabulary, so loss and accuracy a token do not compare between
  vocabularies. Bits a character do: the same whole words of the same held-out lines are masked for all encoders, and
  what a word costs is shared out over its characters. Words that any of the encoders does not know are left out.
* STS-B dev: Spearman × 100 of the raw mean-pooled vectors, and after the variant `sbert` was trained on STS-B train.
* Collapse: mean cosine of unrelated sentences, and of the dev pairs with a score of at most 1.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from transformers import BertForMaskedLM

from anticollapse.data import PairSet, load_pairs
from anticollapse.encoding import load_encoder
from anticollapse.encoding.checkpoints import resolve_encoder
from anticollapse.measures import mean_unrelated_cosine, pair_cosines
from anticollapse.measures.correlation import correlation_of
from anticollapse.pretraining.text import hold_out, read_lines
from anticollapse.training import TrainingOptions, get_variant, train

SPECIAL = 5
TOKEN_RATE, WORD_RATE = 0.3, 0.15
MAX_WORDS = 60
"""Words of a line that are read; lines that are still too long for one of the encoders are left out."""


@dataclass(frozen=True)
class Line:
    """A held-out line, tokenised by one encoder.

    Attributes:
        ids: Token numbers with [CLS] and [SEP].
        words: Which word each token belongs to; -1 for [CLS] and [SEP].
    """

    ids: list[int]
    words: list[int]


@dataclass(frozen=True)
class Predictor:
    """An encoder with its masked-language-model head."""

    model: BertForMaskedLM
    tokenizer: Any
    mask: int
    unknown: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoders", nargs="*", help="names or folders")
    parser.add_argument("--text", nargs="+", type=Path, default=[], help="text whose held-out lines are predicted")
    parser.add_argument("--held-out", type=Path, help="held-out lines alone, as --write-held-out wrote them")
    parser.add_argument("--write-held-out", type=Path, help="write the lines that would be predicted, and end")
    parser.add_argument("--lines", type=int, default=1000, help="held-out lines at most (default 1000)")
    parser.add_argument("--pairs", default="stsb", help="stsb (default), stsb-zh, demo")
    parser.add_argument("--epochs", type=float, default=2.0, help="of fine-tuning; 0 = none (default 2)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--test", action="store_true", help="also report the test split, once everything is chosen")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    rows: dict[str, dict[str, Any]] = {name: {} for name in args.encoders}
    if args.text and args.held_out:
        parser.error("--text and --held-out say the same; give one")
    if args.write_held_out and not args.text:
        parser.error("--write-held-out needs --text")
    if not args.write_held_out and not args.encoders:
        parser.error("name the encoders")
    if args.write_held_out:
        args.write_held_out.write_text("\n".join(held_out_lines(args)) + "\n", encoding="utf-8")
        return
    if args.text or args.held_out:
        predict(rows, held_out_lines(args), args)
    for name, row in rows.items():
        row.update(raw(name, args))
        if args.epochs:
            row.update(tuned(name, args))
    print(json.dumps(rows, indent=2) if args.json else table(rows))


def held_out_lines(args: argparse.Namespace) -> list[str]:
    """Lines that no encoder made by `anticollapse pretrain` has been trained on."""
    if args.held_out:
        return args.held_out.read_text(encoding="utf-8").splitlines()[: args.lines]
    _, held = hold_out(read_lines(args.text))
    order = np.random.default_rng(args.seed).permutation(len(held))
    return [held[i] for i in np.sort(order[: args.lines])]


def predict(rows: dict[str, dict[str, Any]], texts: list[str], args: argparse.Namespace) -> None:
    """Fill in what masked-token prediction gives."""
    predictors = {name: open_predictor(name, args.device) for name in rows}
    for name in [name for name, p in predictors.items() if p is None]:
        rows[name]["note"] = "no masked-language-model head in its file"
        del predictors[name]
    if not predictors:
        return
    found = {name: p for name, p in predictors.items() if p is not None}
    words = split_words(next(iter(found.values())), texts)
    lines = {name: [tokenise(p, line) for line in words] for name, p in found.items()}
    longest = min(p.model.config.max_position_embeddings for p in found.values())
    fits = [i for i in range(len(words)) if all(len(part[i].ids) <= longest for part in lines.values()) and words[i]]
    words = [words[i] for i in fits]
    lines = {name: [part[i] for i in fits] for name, part in lines.items()}
    unknown = {name: [unknown_words(found[name], line) for line in part] for name, part in lines.items()}
    chosen = choose_words(words, list(unknown.values()), args.seed)
    for name, predictor in found.items():
        rows[name].update(tokens_of(predictor, lines[name], args.seed))
        rows[name].update(words_of(predictor, lines[name], words, chosen))
        rows[name]["unknown_words_share"] = sum(map(len, unknown[name])) / sum(map(len, words))


def open_predictor(name: str, device: str) -> Predictor | None:
    encoder = load_encoder(name, device=device)
    folder = resolve_encoder(name)
    model, info = BertForMaskedLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    missing = [key for key in info["missing_keys"] if key.startswith("cls.") and "decoder" not in key]
    if missing:
        return None
    tokenizer = encoder.model.tokenizer.backend_tokenizer
    tokenizer.no_truncation()
    tokenizer.no_padding()
    vocabulary = tokenizer.get_vocab()
    return Predictor(model.to(device).eval(), tokenizer, vocabulary["[MASK]"], vocabulary["[UNK]"])


def split_words(predictor: Predictor, texts: list[str]) -> list[list[str]]:
    """Words as the uncased BERT pre-tokenizer makes them: the same for all encoders of this kind."""
    normal, pre = predictor.tokenizer.normalizer, predictor.tokenizer.pre_tokenizer
    return [[word for word, _ in pre.pre_tokenize_str(normal.normalize_str(text))][:MAX_WORDS] for text in texts]


def tokenise(predictor: Predictor, words: list[str]) -> Line:
    encoded = predictor.tokenizer.encode(words, is_pretokenized=True, add_special_tokens=False)
    vocabulary = predictor.tokenizer.get_vocab()
    return Line([vocabulary["[CLS]"], *encoded.ids, vocabulary["[SEP]"]], [-1, *encoded.word_ids, -1])


def unknown_words(predictor: Predictor, line: Line) -> set[int]:
    return {word for token, word in zip(line.ids, line.words, strict=True) if token == predictor.unknown}


def choose_words(words: list[list[str]], unknown: list[list[set[int]]], seed: int) -> list[np.ndarray]:
    """Words to mask in each line: known to all encoders."""
    random = np.random.default_rng([seed, 7])
    chosen = []
    for i, line in enumerate(words):
        drawn = np.flatnonzero(random.random(len(line)) < WORD_RATE)
        chosen.append(np.array([w for w in drawn if not any(part[i] & {int(w)} for part in unknown)], np.int64))
    return chosen


@torch.no_grad()
def losses(predictor: Predictor, lines: list[Line], masked: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Cross-entropy in nats of each masked token, and whether it is the most probable one; all of them are [MASK]."""
    device = next(predictor.model.parameters()).device
    out = []
    for line, places in zip(lines, masked, strict=True):
        ids = torch.tensor(line.ids, device=device)[None]
        labels = ids[0, places].clone()
        ids[0, places] = predictor.mask
        hidden = predictor.model.bert(input_ids=ids).last_hidden_state[0, places]
        logits = predictor.model.cls(hidden)
        nats = F.cross_entropy(logits, labels, reduction="none")
        out.append((nats.cpu().numpy(), (logits.argmax(-1) == labels).cpu().numpy()))
    return out


def tokens_of(predictor: Predictor, lines: list[Line], seed: int) -> dict[str, float]:
    """Loss and accuracy of masked tokens, 30 % of each line."""
    random = np.random.default_rng([seed, 8])
    masked = []
    for line in lines:
        free = np.flatnonzero(np.array(line.ids) >= SPECIAL)
        masked.append(np.sort(random.permutation(free)[: round(TOKEN_RATE * len(free))]))
    nats, right = (np.concatenate(part) for part in zip(*losses(predictor, lines, masked), strict=True))
    return {"token_loss": float(nats.mean()), "token_accuracy": float(right.mean()), "tokens_predicted": len(nats)}


def words_of(
    predictor: Predictor, lines: list[Line], words: list[list[str]], chosen: list[np.ndarray]
) -> dict[str, float]:
    """Bits a character of masked whole words."""
    masked = [np.flatnonzero(np.isin(line.words, wanted)) for line, wanted in zip(lines, chosen, strict=True)]
    characters = sum(len(split[w]) for split, wanted in zip(words, chosen, strict=True) for w in wanted)
    bits = sum(float(nats.sum()) for nats, _ in losses(predictor, lines, masked)) / math.log(2)
    return {"bits_per_character": bits / characters, "words_predicted": sum(map(len, chosen))}


def cosines(folder: str | Path, pairs: PairSet, device: str) -> tuple[np.ndarray, float | None]:
    vectors = load_encoder(folder, device=device).encode(pairs.sentences).vectors
    assert pairs.index1 is not None and pairs.index2 is not None  # noqa: PT018  graded pairs have both
    return pair_cosines(vectors, pairs.index1, pairs.index2).round(6), mean_unrelated_cosine(vectors).value


def of_pairs(folder: str | Path, args: argparse.Namespace, prefix: str) -> dict[str, float | None]:
    out: dict[str, float | None] = {}
    for split in ("dev", "test") if args.test else ("dev",):
        pairs = load_pairs(args.pairs, split=split)
        assert pairs.scores is not None
        values, unrelated = cosines(folder, pairs, args.device)
        out[f"{prefix}_{split}_spearman"] = 100 * correlation_of(pairs.scores, values, "spearman")
        out[f"{prefix}_{split}_unrelated_cosine"] = unrelated
        out[f"{prefix}_{split}_low_cosine"] = float(values[pairs.scores <= 1].mean())
    return out


def raw(name: str, args: argparse.Namespace) -> dict[str, float | None]:
    return of_pairs(resolve_encoder(name), args, "raw")


def tuned(name: str, args: argparse.Namespace) -> dict[str, float | None]:
    options = TrainingOptions(epochs=args.epochs, seed=args.seed, patience=0)
    with tempfile.TemporaryDirectory() as folder:
        train(
            get_variant("sbert"),
            name,
            load_pairs(args.pairs, split="train"),
            dev=load_pairs(args.pairs, split="dev"),
            output=Path(folder) / "run",
            options=options,
            device=args.device,
        )
        return of_pairs(Path(folder) / "run" / "model", args, "sbert")


def table(rows: dict[str, dict[str, Any]]) -> str:
    keys = list(dict.fromkeys(key for row in rows.values() for key in row))
    lines = ["| | " + " | ".join(rows) + " |", "|---|" + "--:|" * len(rows)]
    for key in keys:
        cells = [row.get(key) for row in rows.values()]
        shown = [
            "–" if c is None else f"{c:,}" if isinstance(c, int) else c if isinstance(c, str) else f"{c:.3f}"
            for c in cells
        ]
        lines.append(f"| {key.replace('_', ' ')} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
