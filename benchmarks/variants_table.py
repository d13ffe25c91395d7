"""Every variant from one backbone, several seeds: the table of ``docs/training.md``.

    python benchmarks/variants_table.py --output variants.jsonl

Trains on the train split, chooses the checkpoint on dev, measures dev and test once, in float32. One line of JSON a
run; a run that is in the file is not repeated, and one that was killed goes on from its checkpoint. ``--table`` prints
the Markdown table of what is there; ``--select`` tries learning rates with one seed and prints dev alone, to choose
defaults by.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import statistics
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from anticollapse.data import load_pairs
from anticollapse.encoding import load_encoder
from anticollapse.measures import mean_unrelated_cosine, pair_cosines
from anticollapse.measures.correlation import correlation_of
from anticollapse.training import TrainingOptions, get_variant, load_pair_scorer, train, variants

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from anticollapse.data import PairSet

Row = dict[str, Any]


def main() -> None:
    args = arguments()
    rows = read(args.output)
    if not args.table:
        run_all(args, rows)
    print(learning_rates(rows) if args.select else table(rows, args))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="raw-mini")
    parser.add_argument("--pairs", default="stsb", help="a named set with train, dev and test")
    parser.add_argument("--variants", nargs="+", default=list(variants()))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=float, default=0.0, help="0 = each variant's default")
    parser.add_argument(
        "--select", nargs="+", type=float, metavar="LR", help="learning rates to try with seed 0, on dev"
    )
    parser.add_argument("--output", type=Path, default=Path("variants.jsonl"))
    parser.add_argument("--work", type=Path, default=Path(".cache/variants"), help="run folders of unfinished runs")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--table", action="store_true", help="train nothing, print what is in the file")
    return parser.parse_args()


def run_all(args: argparse.Namespace, rows: list[Row]) -> None:
    splits = {split: load_pairs(args.pairs, split=split) for split in ("train", "dev", "test")}
    for seed in range(1 if args.select else args.seeds):
        for name in args.variants:
            for rate in args.select or [0.0]:
                key = {"variant": name, "seed": seed, "learning_rate": rate, "epochs": args.epochs}
                key |= {"backbone": args.backbone, "pairs": args.pairs}
                if any(all(row.get(k) == v for k, v in key.items()) for row in rows):
                    continue
                row = {**key, **run_one(args, name, seed, rate, splits)}
                rows.append(row)
                with args.output.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(row) + "\n")
                print(
                    {k: round(v, 3) if isinstance(v, float) else v for k, v in row.items() if k != "command"},
                    flush=True,
                )


def run_one(args: argparse.Namespace, name: str, seed: int, rate: float, splits: dict[str, PairSet]) -> Row:
    folder = args.work / f"{name}-{seed}-{rate:g}-{args.epochs:g}"
    command = f"python -m anticollapse train {name} --backbone {args.backbone} --pairs {args.pairs} --seed {seed}"
    command += f" --output {name}-{seed}" + (f" --lr {rate:g}" if rate else "")
    options = TrainingOptions(seed=seed, learning_rate=rate, epochs=args.epochs, threads=args.threads)
    start = time.perf_counter()
    result = train(
        get_variant(name),
        args.backbone,
        splits["train"],
        dev=splits["dev"],
        output=folder,
        options=options,
        device=args.device,
        resume=True,
        command=command,
    )
    measured = [] if args.select else ["test"]
    row: Row = {"step": result.step, "best_step": result.best_step, "status": result.status}
    row |= {"dev": result.after.dev_spearman, "dev_before": result.before.dev_spearman}
    row |= {
        f"{split}_{k}": v for split in measured for k, v in measure(name, result.model, splits[split], args).items()
    }
    shutil.rmtree(folder)
    seconds = {"training_seconds": round(result.seconds, 1), "seconds": round(time.perf_counter() - start, 1)}
    return {**row, **seconds, "commit": commit(), "command": command}


def measure(name: str, model: Path, pairs: PairSet, args: argparse.Namespace) -> dict[str, float | None]:
    """Spearman and mean unrelated cosine of the trained encoder, and the latter of its backbone."""
    before = unrelated(load_encoder(args.backbone, device=args.device).encode(pairs.sentences).vectors)
    if get_variant(name).gives == "pair scores":
        if pairs.sentences2 is None:
            raise SystemExit(f"{pairs.name} has no pairs")
        scores = load_pair_scorer(model, device=args.device).score(pairs.sentences1, pairs.sentences2)
        rank = correlation_of(pairs.require_scores(), scores, "spearman")
        return {"spearman": 100 * rank, "unrelated_before": before, "unrelated": None}
    vectors = load_encoder(model.resolve(), device=args.device).encode(pairs.sentences).vectors
    if pairs.index2 is None:
        raise SystemExit(f"{pairs.name} has no pairs")
    cosines = pair_cosines(vectors, pairs.index1, pairs.index2)
    rank = correlation_of(pairs.require_scores(), cosines, "spearman")
    return {"spearman": 100 * rank, "unrelated_before": before, "unrelated": unrelated(vectors)}


def unrelated(vectors: NDArray[Any]) -> float | None:
    return mean_unrelated_cosine(vectors).value


def table(rows: Sequence[Row], args: argparse.Namespace) -> str:
    lines = [f"{platform.machine()}, torch {torch.__version__}, {args.backbone}, {args.pairs}", ""]
    lines += [
        "| variant | seeds | dev Spearman | test Spearman | mean unrelated cosine, test: before → after | min a run |"
    ]
    lines += ["|---|--:|--:|--:|--:|--:|"]
    for name in args.variants:
        own = [r for r in rows if r["variant"] == name and "test_spearman" in r and r["epochs"] == args.epochs]
        if not own:
            continue
        before = mean_and_std([r["test_unrelated_before"] for r in own], 2, spread=False)
        after = "gives no vectors"
        if own[0]["test_unrelated"] is not None:
            after = mean_and_std([r["test_unrelated"] for r in own], 2)
        minutes = statistics.mean(r["training_seconds"] for r in own) / 60
        cells = [f"`{name}`", str(len(own)), mean_and_std([r["dev"] for r in own], 1)]
        cells += [mean_and_std([r["test_spearman"] for r in own], 1), f"{before} → {after}", f"{minutes:.1f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def learning_rates(rows: Sequence[Row]) -> str:
    lines = ["| variant | learning rate: dev Spearman (best step) |", "|---|---|"]
    for name in dict.fromkeys(r["variant"] for r in rows):
        tried = sorted((r["learning_rate"], r["dev"], r["best_step"]) for r in rows if r["variant"] == name)
        lines.append(f"| `{name}` | " + "; ".join(f"{rate:g}: {dev:.1f} ({step})" for rate, dev, step in tried) + " |")
    return "\n".join(lines)


def mean_and_std(values: Sequence[float], digits: int, *, spread: bool = True) -> str:
    text = f"{statistics.mean(values):.{digits}f}"
    return f"{text} ± {statistics.stdev(values):.{digits}f}" if spread and len(values) > 1 else text


def read(file: Path) -> list[Row]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
