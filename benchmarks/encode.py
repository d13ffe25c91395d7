"""Sentences per second against ``SentenceTransformer.encode`` with its defaults: same weights, texts and threads.

    python benchmarks/encode.py [--encoder raw-mini] [--pairs stsb] [--threads 2] [--repeats 3] [--random-bert-base]

Both are run in turn, ``--repeats`` times, in one process; the fastest of each counts. Nothing is cached.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import AutoTokenizer, BertConfig, BertModel

from anticollapse.data import load_pairs
from anticollapse.encoding import Encoder, device_name, load_encoder


def random_bert_base(folder: Path, tokenizer_from: Path) -> Path:
    """A bert-base of random weights: speed does not depend on what they say."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_from)
    config = BertConfig(vocab_size=max(30_522, len(tokenizer)))
    BertModel(config, add_pooling_layer=False).save_pretrained(folder / "plain")
    tokenizer.save_pretrained(folder / "plain")
    modules = [Transformer(str(folder / "plain"), model_kwargs={"add_pooling_layer": False}), Pooling(768, "mean")]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder / "base"), create_model_card=False)
    return folder / "base"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="raw-mini")
    parser.add_argument("--pairs", default="stsb")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit", type=int, default=0, help="first N sentences only")
    parser.add_argument("--device", default=None)
    parser.add_argument("--random-bert-base", action="store_true", help="a bert-base of random weights instead")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(args.threads)
    pairs = load_pairs(args.pairs)
    texts = [text for side in (pairs.sentences1, pairs.sentences2 or ()) for text in side]
    texts = texts[: args.limit or None]
    with tempfile.TemporaryDirectory() as folder:
        name: str | Path = args.encoder
        if args.random_bert_base:
            name = random_bert_base(Path(folder), load_encoder(args.encoder).folder or Path())
        encoders = {p: load_encoder(name, device=args.device, precision=p) for p in ("auto", "float32")}
        peer = SentenceTransformer(
            str(encoders["float32"].folder), device=args.device, model_kwargs={"dtype": "float32"}
        )
        compare(encoders, peer, texts, args.repeats)


def compare(encoders: dict[str, Encoder], peer: SentenceTransformer, texts: list[str], repeats: int) -> None:
    """Run all in turn and print the table."""
    times: dict[str, list[float]] = {}
    vectors: dict[str, np.ndarray] = {}
    peer.encode(texts[:256], show_progress_bar=False)
    for encoder in encoders.values():
        encoder.encode(texts[:256])
    for _ in range(repeats):
        started = time.perf_counter()
        vectors["peer"] = peer.encode(texts, show_progress_bar=False)
        times.setdefault("peer", []).append(time.perf_counter() - started)
        for name, encoder in encoders.items():
            started = time.perf_counter()
            vectors[name] = encoder.encode(texts).vectors
            times.setdefault(name, []).append(time.perf_counter() - started)
    best = {name: min(values) for name, values in times.items()}
    device = device_name(encoders["auto"].device)
    print(f"{len(texts):,} sentences ({len(set(texts)):,} different), {torch.get_num_threads()} threads, {device}")
    print(f"sentence-transformers, defaults: {len(texts) / best['peer']:8,.0f} sentences/s")
    for name, encoder in encoders.items():
        worst = float(cosines(vectors[name], vectors["peer"]).min())
        print(
            f"anticollapse, {name:8} ({encoder.precision}): {len(texts) / best[name]:8,.0f} sentences/s, "
            f"ratio {best['peer'] / best[name]:.2f}, worst cosine to the peer {worst:.6f}"
        )


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine of each row."""
    return np.einsum("nd,nd->n", a, b) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


if __name__ == "__main__":
    main()
