"""Parity with sentence-transformers: same loss, backbone, data, steps, batch and learning rate, same dev Spearman.

    python benchmarks/parity.py --output parity.jsonl

For ``sbert`` (``CosineSimilarityLoss``), ``cosent`` (``CoSENTLoss``) and ``simcse`` (``MultipleNegativesRankingLoss``
on each sentence twice), both sides train from the backbone on the train split with each seed, linear warm-up and decay,
and nothing is chosen on dev: the last weights are measured, both by the same code in float32. SimCSE's training-only
MLP is left out, as sentence-transformers has none.

The trainer draws its batches at random; ours hold sentences of similar length, and a loss that compares the sentences
of a batch with each other sees other comparisons then. So there are two sides of ours: ``ours`` with batches drawn at
random as the trainer's are (the comparison of the loss and the loop), and ``ours, by length`` as it is by default.

One line of JSON a run; a run that is in the file is not repeated. ``--table`` prints the comparison: the difference of
the means with Welch's 95 % interval over seeds, which holds zero where the sides are equal within the seeds' spread.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from anticollapse.data import load_pairs
from anticollapse.encoding import load_encoder
from anticollapse.measures import pair_cosines
from anticollapse.measures.correlation import correlation_of
from anticollapse.training import TrainingOptions, data, get_variant, train
from anticollapse.training.data import steps_per_epoch

if TYPE_CHECKING:
    from anticollapse.data import PairSet
    from anticollapse.encoding import Encoder


@dataclasses.dataclass(frozen=True)
class Setting:
    """What both sides train with."""

    batch_size: int
    learning_rate: float
    epochs: float


SETTINGS = {"sbert": Setting(32, 2e-4, 2), "cosent": Setting(32, 1e-4, 2), "simcse": Setting(64, 5e-5, 1)}
WARM_UP = 0.1
OURS, BY_LENGTH, THEIRS = SIDES = ("ours", "ours, by length", "sentence-transformers")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="raw-mini")
    parser.add_argument("--pairs", default="stsb")
    parser.add_argument("--variants", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--output", type=Path, default=Path("parity.jsonl"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--table", action="store_true", help="only print what is in the file")
    args = parser.parse_args()
    done = read(args.output)
    if not args.table:
        pairs, dev = (load_pairs(args.pairs, split=split) for split in ("train", "dev"))
        for seed in range(args.seeds):
            for name in args.variants:
                for side in args.sides:
                    key = {"variant": name, "side": side, "seed": seed, "backbone": args.backbone, "pairs": args.pairs}
                    key |= dataclasses.asdict(SETTINGS[name])
                    if any(all(row.get(k) == v for k, v in key.items()) for row in done):
                        continue
                    start = time.perf_counter()
                    with random_batches() if side == OURS else nullcontext():
                        score = (theirs if side == THEIRS else ours)(name, seed, pairs, dev, args)
                    row = {**key, "dev_spearman": score, "seconds": round(time.perf_counter() - start, 1)}
                    done.append(row)
                    with args.output.open("a", encoding="utf-8") as stream:
                        stream.write(json.dumps(row) + "\n")
                    print(row, flush=True)
    print(table(done))


@contextmanager
def random_batches() -> Iterator[None]:
    """Our batches without regard to length: only within one batch are sentences sorted."""
    before, data.MEGABATCHES = data.MEGABATCHES, 1
    try:
        yield
    finally:
        data.MEGABATCHES = before


def ours(name: str, seed: int, pairs: PairSet, dev: PairSet, args: argparse.Namespace) -> float:
    setting = SETTINGS[name]
    variant = get_variant(name)
    if name == "simcse":
        variant = dataclasses.replace(variant, head=None)
    options = TrainingOptions(
        batch_size=setting.batch_size,
        learning_rate=setting.learning_rate,
        epochs=setting.epochs,
        warmup=WARM_UP,
        seed=seed,
        evaluate_every=10**9,
    )
    with tempfile.TemporaryDirectory() as folder:
        result = train(variant, args.backbone, pairs, output=Path(folder) / "run", options=options, device=args.device)
        return spearman(load_encoder(result.model, device=args.device), dev)


def theirs(name: str, seed: int, pairs: PairSet, dev: PairSet, args: argparse.Namespace) -> float:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import (
        CoSENTLoss,
        CosineSimilarityLoss,
        MultipleNegativesRankingLoss,
    )

    setting = SETTINGS[name]
    encoder = load_encoder(args.backbone, device=args.device)
    if name == "simcse":
        columns = {"sentence1": list(pairs.sentences), "sentence2": list(pairs.sentences)}
        loss = MultipleNegativesRankingLoss(encoder.model)
    else:
        columns = {"sentence1": list(pairs.sentences1), "sentence2": list(pairs.sentences2)}
        columns["score"] = (pairs.require_scores() / 5).tolist()
        loss = (CosineSimilarityLoss if name == "sbert" else CoSENTLoss)(encoder.model)
    dataset = Dataset.from_dict(columns)
    steps = round(setting.epochs * steps_per_epoch(len(dataset), setting.batch_size))
    with tempfile.TemporaryDirectory() as folder:
        settings = SentenceTransformerTrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=setting.batch_size,
            learning_rate=setting.learning_rate,
            max_steps=steps,
            warmup_steps=round(WARM_UP * steps),
            seed=seed,
            use_cpu=args.device == "cpu",
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        SentenceTransformerTrainer(model=encoder.model, args=settings, train_dataset=dataset, loss=loss).train()
    encoder.model.eval()
    return spearman(encoder, dev)


def spearman(encoder: Encoder, dev: PairSet) -> float:
    vectors = encoder.encode(dev.sentences).vectors
    if dev.index2 is None:
        raise SystemExit(f"{dev.name} has no pairs")
    return 100 * correlation_of(dev.require_scores(), pair_cosines(vectors, dev.index1, dev.index2), "spearman")


def read(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def table(rows: list[dict[str, object]]) -> str:
    lines = [
        "| variant | side | dev Spearman of each seed | mean | std | less sentence-transformers | within the spread |"
    ]
    lines += ["|---|---|---|--:|--:|--:|---|"]
    for name in SETTINGS:
        sides = {
            side: np.array([float(str(r["dev_spearman"])) for r in rows if r["variant"] == name and r["side"] == side])
            for side in SIDES
        }
        for side, values in sides.items():
            if len(values) < 2:
                continue
            seeds = ", ".join(f"{v:.2f}" for v in values)
            line = f"| `{name}` | {side} | {seeds} | {values.mean():.2f} | {values.std(ddof=1):.2f} |"
            if side == THEIRS or len(sides[THEIRS]) < 2:
                lines.append(f"{line} | |")
                continue
            interval = stats.ttest_ind(values, sides[THEIRS], equal_var=False).confidence_interval(0.95)
            difference = values.mean() - sides[THEIRS].mean()
            equal = "yes" if interval.low <= 0 <= interval.high else "**no**"
            lines.append(f"{line} {difference:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}] | {equal} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
