"""How long a training will take, from a short measured probe on the user's own sentences.

The probe trains a few steps in a process of its own with the threads that a run gets, in a temporary folder.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anticollapse.data import PairSet
from anticollapse.encoding import checkpoint_root, resolve_encoder
from anticollapse.errors import RunError
from anticollapse.runs import store
from anticollapse.runs.queue import THREAD_VARIABLES
from anticollapse.runs.settings import RunSettings

if TYPE_CHECKING:
    from anticollapse.training import Event, TrainingOptions, Variant

PROBE_STEPS = 4
"""Steps before and after the first evaluation; only those after it are timed, as the first ones warm up."""
PROBE_BATCHES = 16
PROBE_DEV = 200
TIMEOUT = 300.0


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What a probe measured.

    Attributes:
        setup: Seconds until the first step, the start of the process included, the backbone's evaluation not.
        step: Seconds a step.
        look: Seconds for one evaluation, on the probe's dev pairs.
        dev_share: Part of what a run evaluates on that the probe looked at.
        threads: With how many CPU threads.
        write: Seconds to write the encoder and the checkpoint after an evaluation; the dev pairs do not matter for it.
    """

    setup: float
    step: float
    look: float
    dev_share: float
    threads: int
    write: float = 0.0

    def seconds(self, steps: int, looks: int) -> float:
        """Time of a run in seconds; patience may end it earlier.

        Args:
            steps: Optimizer steps.
            looks: Evaluations on dev; the backbone's, before the first step, is one more.
        """
        return self.setup + steps * self.step + looks * self.write + (looks + 1) * self.look / self.dev_share


def steps_of(variant: Variant, options: TrainingOptions, pairs: PairSet) -> tuple[int, int]:
    """Optimizer steps and evaluations of a run, without loading anything.

    Args:
        variant: What is trained.
        options: How long.
        pairs: On what.
    """
    n = pairs.n if variant.supervised is not None else len(pairs.sentences)
    batch = min(options.batch_size or variant.defaults.batch_size, n)
    epochs = options.epochs or variant.defaults.epochs
    steps = options.steps or max(1, round(epochs * -(-n // batch) / options.accumulation))
    every = options.evaluation_interval(steps)
    return steps, max(1, -(-steps // every))


def probe(
    variant: Variant,
    backbone: str,
    pairs: PairSet,
    *,
    dev: PairSet | None = None,
    options: TrainingOptions | None = None,
    confined: bool = False,
    root: Path | None = None,
    settings: RunSettings | None = None,
) -> Speed:
    """Measure the speed of a training; this takes some seconds.

    Args:
        variant: What would be trained.
        backbone: From where.
        pairs: On what; a part of them is used.
        dev: Measured on what; a part of them is used.
        options: Batch size, precision and so on; its steps do not matter.
        confined: Accept no backbone outside the root (for names that come from the app).
        root: The checkpoint root.
        settings: For the number of threads.

    Raises:
        EncoderError: If there is no such backbone.
        RunError: If the probe fails; the message is the training's own.
    """
    from anticollapse.training import TrainingOptions

    root = root or checkpoint_root()
    backbone = str(resolve_encoder(backbone, root=root, confined=confined))

    settings = settings or RunSettings.from_environment()
    options = options or TrainingOptions()
    threads = options.threads or settings.thread_count
    batch = options.batch_size or variant.defaults.batch_size
    part = _part(pairs, PROBE_BATCHES * batch)
    dev_part = None if dev is None else _part(dev, PROBE_DEV)
    with tempfile.TemporaryDirectory(prefix="anticollapse-probe-") as place:
        folder = Path(place)
        store.save_pairs(folder / store.TRAIN, part)
        if dev_part is not None:
            store.save_pairs(folder / store.DEV, dev_part)
        kept = {
            k: v for k, v in dataclasses.asdict(options).items() if k in {"batch_size", "accumulation", "precision"}
        }
        request = {
            "variant": variant.id,
            "parameters": dict(variant.values),
            "backbone": backbone,
            "dev": dev_part is not None,
            "options": {**kept, "steps": 2 * PROBE_STEPS, "evaluate_every": PROBE_STEPS, "threads": threads},
        }
        store.write_json(folder / "request.json", request)
        answer = _run(folder, root, threads)
    share = _looked_at(part, dev_part) / max(_looked_at(pairs, dev), 1)
    return Speed(**answer, dev_share=share, threads=threads)


def _looked_at(pairs: PairSet, dev: PairSet | None) -> int:
    """How much an evaluation encodes: graded dev pairs, else a sample of sentences."""
    from anticollapse.training.evaluation import MAX_SENTENCES

    if dev is not None and dev.labelled and dev.has_pairs:
        return dev.n
    return min(len((pairs if dev is None else dev).sentences), MAX_SENTENCES)


def _part(pairs: PairSet, n: int) -> PairSet:
    """A random part, so that its sentences are as long as the others."""
    if pairs.n <= n:
        return pairs
    return pairs.subset(np.sort(np.random.default_rng(0).choice(pairs.n, n, replace=False)))


def _run(folder: Path, root: Path, threads: int) -> Mapping[str, float]:
    environment = {
        **os.environ,
        "ANTICOLLAPSE_CHECKPOINTS": str(root),
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]),
        "TQDM_DISABLE": "1",
        **dict.fromkeys(THREAD_VARIABLES, str(threads)),
    }
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "anticollapse.runs.estimate", str(folder)],
            env=environment, cwd=folder, capture_output=True, timeout=TIMEOUT, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise RunError(
            "measuring the speed took too long", remedy="Start the run; it says how long it takes"
        ) from error
    answer = folder / "answer.json"
    found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8")) if answer.exists() else {}
    if "error" in found or not found:
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or ["no message"]
        raise RunError(f"the speed cannot be measured ({found.get('error', last[0])})")
    return found


def main(folder: Path) -> None:
    """The probe's process: train a few steps and write what was measured."""
    import time

    import psutil

    from anticollapse.errors import AntiCollapseError
    from anticollapse.training import TrainingOptions, get_variant, train
    from anticollapse.training.data import steps_per_epoch

    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    heard: list[tuple[float, Event]] = []

    def hear(event: Event) -> None:
        heard.append((time.perf_counter(), event))

    setup_before = time.time() - psutil.Process().create_time()
    began = time.perf_counter()
    pairs = store.read_pairs_of(folder / store.TRAIN)
    variant = get_variant(request["variant"]).with_parameters(request["parameters"])
    options = TrainingOptions(**request["options"])
    n = pairs.n if variant.supervised is not None else len(pairs.sentences)
    batch = min(options.batch_size or variant.defaults.batch_size, n)
    # An epoch is cut into batches of the same size, which is smaller than what was asked for where that leaves a rest.
    items = n / steps_per_epoch(n, batch) * options.accumulation
    try:
        train(
            variant,
            request["backbone"],
            pairs,
            dev=store.read_pairs_of(folder / store.DEV) if request["dev"] else None,
            output=folder / "run",
            options=options,
            callback=hear,
            command="probe",
        )
    except AntiCollapseError as error:
        store.write_json(folder / "answer.json", {"error": str(error)})
        return
    store.write_json(folder / "answer.json", times_of(heard, began=began - setup_before, items=items))


def times_of(heard: Sequence[tuple[float, Event]], *, began: float, items: float) -> dict[str, float]:
    """What the events of a probe say about the time of a run's parts.

    Args:
        heard: When each was heard, in seconds, and what.
        began: When the process began, on the same clock.
        items: Items a step.

    Returns:
        Seconds: ``setup``, ``step``, ``look`` and ``write`` as in :class:`Speed`.
    """
    (first, _), (last, end) = [(at, event) for at, event in heard if event.kind == "evaluation"][-2:]
    # The last step is told as progress, just before the evaluation after it begins.
    stepped = max(at for at, event in heard if event.kind == "progress" and at <= last)
    step = items / (end.values["items_per_second"] or float("nan"))
    look = last - stepped
    start = next(at for at, event in heard if event.kind == "start")
    return {
        "setup": max(start - began - look, 0.0),
        "step": step,
        "look": look,
        "write": max(stepped - first - PROBE_STEPS * step, 0.0),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
