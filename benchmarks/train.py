"""Training speed and peak memory, side by side with ``SentenceTransformerTrainer``.

    python benchmarks/train.py --pairs stsb  # on the CPU, from raw-mini
    python benchmarks/train.py --pairs stsb --device cuda --layers 12 --width 768 --batch-size 64 --steps 200

Each contestant trains the cosine-MSE of Sentence-BERT in a process of its own, by turns, from the same backbone on the
same pairs with the same batch size and number of steps. Compared are

* ``ours``: ``anticollapse.training.train`` as it is by default;
* ``trainer``: the trainer with its defaults (but nothing logged, saved or evaluated);
* ``trainer-option``: with ``bf16=True`` and ``train_sampling_strategy="group_by_length"``;
* ``trainer-grouped``: with ``bf16=True`` and a batch sampler that gives it exactly our length-grouped batches,
  because sentence-transformers builds its own sampler and does not look at the option.

Reported: pairs a second between a warm-up and the last step (median of the repeats), and the largest memory of the
process.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anticollapse.data import PairSet
    from anticollapse.encoding import Encoder

CONTESTANTS = ("ours", "trainer", "trainer-option", "trainer-grouped")


def main() -> None:
    args = arguments()
    if args.run:
        print(json.dumps(measure(args)), flush=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        backbone = args.backbone
        if args.layers:
            backbone = str(random_backbone(Path(folder), args.backbone, args.layers, args.width))
        results: dict[str, list[dict[str, float]]] = {name: [] for name in args.contestants}
        for _ in range(args.repeats):
            for name in args.contestants:
                results[name].append(in_a_process(name, backbone, args))
                print(f"{name:>16}: {results[name][-1]}", file=sys.stderr, flush=True)
    report(results, args)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="raw-mini")
    parser.add_argument("--layers", type=int, default=0, help="a random BERT of that many layers instead")
    parser.add_argument("--width", type=int, default=768, help="its hidden size")
    parser.add_argument("--pairs", default="stsb", help="a named set (its train split is taken) or a file")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--warm-up", type=int, default=10, help="first steps that are not timed")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto", help="of ours")
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--run", choices=CONTESTANTS, help=argparse.SUPPRESS)
    return parser.parse_args()


def in_a_process(name: str, backbone: str, args: argparse.Namespace) -> dict[str, float]:
    options = {"pairs": args.pairs, "batch-size": args.batch_size, "steps": args.steps, "warm-up": args.warm_up}
    options |= {"device": args.device, "precision": args.precision, "backbone": backbone, "run": name}
    command = [sys.executable, __file__, *(x for k, v in options.items() for x in (f"--{k}", str(v)))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    measured: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return measured


def random_backbone(folder: Path, like: str, layers: int, width: int) -> Path:
    """A BERT with random weights and another's tokenizer: speed does not depend on the values."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel

    from anticollapse.encoding import load_encoder

    tokenizer = load_encoder(like, device="cpu").model.tokenizer
    size = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": width // 64}
    config = BertConfig(vocab_size=30522, intermediate_size=4 * width, **size)
    plain = folder / "plain"
    BertModel(config, add_pooling_layer=False).save_pretrained(plain)
    tokenizer.save_pretrained(plain)
    transformer = Transformer(str(plain))
    target = folder / "backbone"
    SentenceTransformer(modules=[transformer, Pooling(width, "mean")], device="cpu").save(str(target))
    return target


class Clock:
    """Notes when the warm-up ended and when the last step did."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.step = args, 0
        self.start = self.end = 0.0

    def tick(self) -> bool:
        """Call after each step."""
        self.step += 1
        if self.step in {self.args.warm_up, self.args.steps}:
            if self.args.device != "cpu":
                import torch

                torch.cuda.synchronize()
            now = time.perf_counter()
            self.start, self.end = (now, 0.0) if self.step == self.args.warm_up else (self.start, now)
        return False


def measure(args: argparse.Namespace) -> dict[str, float]:
    from anticollapse.data.sources import SOURCES, load_pairs

    pairs = load_pairs(args.pairs, split="train") if args.pairs in SOURCES else load_pairs(args.pairs)
    clock = Clock(args)
    with tempfile.TemporaryDirectory() as folder:
        (ours if args.run == "ours" else trainer)(args, pairs, clock, Path(folder))
    result = {"pairs_per_second": args.batch_size * (args.steps - args.warm_up) / (clock.end - clock.start)}
    result["peak_memory_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if args.device != "cpu":
        import torch

        result["peak_device_memory_mib"] = torch.cuda.max_memory_allocated() / 2**20
    return {k: round(v, 1) for k, v in result.items()}


def ours(args: argparse.Namespace, pairs: PairSet, clock: Clock, folder: Path) -> None:
    from anticollapse.training import TrainingOptions, get_variant, train

    options = TrainingOptions(
        steps=args.steps, batch_size=args.batch_size, precision=args.precision, evaluate_every=10 * args.steps
    )
    first = True

    def between() -> bool:
        # It is asked before each step: the first time nothing is done yet.
        nonlocal first
        if not first:
            clock.tick()
        first = False
        return False

    tick_after_last_step(clock)
    train(
        get_variant("sbert"),
        args.backbone,
        pairs,
        output=folder / "run",
        options=options,
        device=args.device,
        stop=between,
    )


def tick_after_last_step(clock: Clock) -> None:
    """The last step has no question after it; what follows it is the evaluation."""
    from anticollapse.training.loop import Run

    look = Run._look

    def timed(self: Run) -> None:
        clock.tick()
        look(self)

    Run._look = timed  # type: ignore[method-assign]


def trainer(args: argparse.Namespace, pairs: PairSet, clock: Clock, folder: Path) -> None:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import CosineSimilarityLoss
    from transformers import TrainerCallback

    from anticollapse.encoding import load_encoder

    encoder = load_encoder(args.backbone, device=args.device)
    columns = {"sentence1": list(pairs.sentences1), "sentence2": list(pairs.sentences2)}
    dataset = Dataset.from_dict({**columns, "score": (pairs.scores / 5).tolist()})

    class Ticking(TrainerCallback):
        def on_step_end(self, *_: object, **__: object) -> None:
            clock.tick()

    extra: dict[str, Any] = {}
    if args.run == "trainer-option":
        extra = {"bf16": True, "train_sampling_strategy": "group_by_length"}
    elif args.run == "trainer-grouped":
        extra = {"bf16": True, "batch_sampler": grouped_batches(encoder, pairs)}
    settings = SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=args.batch_size,
        max_steps=args.steps,
        use_cpu=args.device == "cpu",
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        **extra,
    )
    SentenceTransformerTrainer(
        model=encoder.model,
        args=settings,
        train_dataset=dataset,
        loss=CosineSimilarityLoss(encoder.model),
        callbacks=[Ticking()],
    ).train()


def grouped_batches(encoder: Encoder, pairs: PairSet) -> Callable[..., Any]:
    """A sampler that gives the trainer the batches that we use ourselves."""
    from torch.utils.data import BatchSampler

    from anticollapse.training import get_variant
    from anticollapse.training.data import epoch_batches, prepare, steps_per_epoch

    widths = prepare(pairs, get_variant("sbert"), encoder).widths

    class Grouped(BatchSampler):
        def __init__(self, batch_size: int) -> None:
            self.batch_size, self.drop_last, self.epoch = batch_size, False, 0

        def set_epoch(self, epoch: int) -> None:
            self.epoch = epoch

        def __iter__(self) -> Iterator[list[int]]:
            return iter([b.tolist() for b in epoch_batches(widths, self.batch_size, 0, self.epoch)])

        def __len__(self) -> int:
            return steps_per_epoch(len(widths), self.batch_size)

    return lambda _dataset, batch_size, **_: Grouped(batch_size)


def report(results: dict[str, list[dict[str, float]]], args: argparse.Namespace) -> None:
    import torch

    keys = list(next(iter(results.values()))[0])
    medians = {name: {k: statistics.median(r[k] for r in runs) for k in keys} for name, runs in results.items()}
    facts = {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
    }
    out = {**vars(args), **facts, "results": results, "medians": medians}
    if "ours" in medians:
        speed = "pairs_per_second"
        out["ratios"] = {n: round(medians["ours"][speed] / m[speed], 2) for n, m in medians.items() if n != "ours"}
    if args.json:
        print(json.dumps(out, indent=2))
        return
    print(
        f"{facts}; {args.backbone}, {args.pairs}, batch {args.batch_size}, {args.steps} steps, {args.repeats} repeats"
    )
    print(
        "| | pairs/s (lowest – highest) | ours is faster by | peak memory, MiB |" + " device, MiB |" * (len(keys) > 2)
    )
    print("|---|--:|--:|--:|" + "--:|" * (len(keys) > 2))
    for name, row in medians.items():
        speeds = [r["pairs_per_second"] for r in results[name]]
        ratio = "" if name == "ours" or "ours" not in medians else f"{out['ratios'][name]:.2f} ×"
        cells = [f"{row['pairs_per_second']:.0f} ({min(speeds):.0f} – {max(speeds):.0f})", ratio]
        cells += [f"{row[k]:.0f}" for k in keys[1:]]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
