"""Time the removal curve: 5,000 pairs × 100 values of k, from token vectors that are there.

Run: ``python benchmarks/removal.py`` (two CPU cores: within 5 s).
"""

from __future__ import annotations

import argparse
import platform
import time

import numpy as np
import torch

from anticollapse.data import load_pairs
from anticollapse.encoding import TokenEmbeddings, count_tokens, load_encoder
from anticollapse.measures.removal import removal_curve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="raw-mini")
    parser.add_argument("--pairs", default="stsb:train", help="a set with at least as many pairs as asked for")
    parser.add_argument("--n", type=int, default=5000, help="pairs")
    parser.add_argument("--ks", type=int, default=100, help="values of k: 0, 1, 2, …")
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    pairs = load_pairs(args.pairs)
    if pairs.sentences2 is None or pairs.n < args.n:
        parser.error(f"{args.pairs} has {pairs.n} pairs")
    first, second = pairs.sentences1[: args.n], pairs.sentences2[: args.n]
    scores = None if pairs.scores is None else pairs.scores[: args.n]
    distinct = list(dict.fromkeys((*first, *second)))
    where = {sentence: i for i, sentence in enumerate(distinct)}
    index1, index2 = (np.array([where[s] for s in side]) for side in (first, second))
    encoder = load_encoder(args.encoder)
    started = time.perf_counter()
    tokens: TokenEmbeddings = encoder.encode_tokens(distinct)
    counts = count_tokens(encoder, distinct)
    encoding = time.perf_counter() - started
    times, cpu = [], []  # on a busy machine the processor time tells what an idle one would need at most
    for _ in range(args.repeat):
        started, used = time.perf_counter(), time.process_time()
        curve = removal_curve(tokens, encoder.path, counts, index1, index2, scores, ks=range(args.ks))
        times.append(time.perf_counter() - started)
        cpu.append(time.process_time() - used)
    print(
        f"{args.n:,} pairs, {len(distinct):,} sentences, {len(tokens.ids):,} tokens × {tokens.vectors.shape[1]} "
        f"({args.encoder}), {args.ks} values of k"
    )
    print(
        f"token vectors {encoding:.1f} s; removal curve median {np.median(times):.2f} s, worst {max(times):.2f} s, "
        f"processor time median {np.median(cpu):.2f} s, worst {max(cpu):.2f} s"
    )
    print(f"Spearman {curve.spearman[0]:.2f} at k = 0, {np.nanmax(curve.spearman):.2f} at k = {curve.best_k}")
    print(f"{torch.get_num_threads()} threads, {platform.machine()}, numpy {np.__version__}, torch {torch.__version__}")


if __name__ == "__main__":
    main()
