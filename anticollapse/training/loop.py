"""The training loop."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast, gather

from anticollapse.data import PairSet
from anticollapse.errors import AntiCollapseError, OptionError, TrainingError
from anticollapse.training import checkpoint, export
from anticollapse.training.batch import Batch
from anticollapse.training.checkpoint import MEANS, OPTIMIZER, RANDOM, SYSTEM, Checkpoint
from anticollapse.training.contrast import COUNT
from anticollapse.training.data import epoch_batches
from anticollapse.training.evaluation import Evaluation
from anticollapse.training.fast import memory_errors, release_memory
from anticollapse.training.options import TrainingOptions, rate_at
from anticollapse.training.position import Position, Status, Stopwatch, TrainingResult
from anticollapse.training.setup import Workshop
from anticollapse.training.telemetry import Callback, Journal, collapse_alarm
from anticollapse.training.variant import Variant

logger = logging.getLogger(__name__)

Stop = Callable[[], bool]

METRICS = "metrics.jsonl"
LAST = Path("checkpoint") / "last.safetensors"
CHECK_EVERY = 10
"""Steps between two looks at the loss on a GPU, and at the stop signal with several processes: a look makes the host
wait."""
PROGRESS_SECONDS = 0.5
COUNTS = f"stat/{COUNT}"
FREE_TO_CHANGE = ("threads", "patience", "checkpoint_every")
"""Options that may differ when a run is resumed. Threads change the order of sums, so the run says so."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What is asked for; see :func:`anticollapse.training.train`."""

    variant: Variant
    pairs: PairSet
    dev: PairSet | None
    options: TrainingOptions
    output: Path
    callback: Callback | None
    stop: Stop
    command: str


class Run:
    """One training from its set-up to its result.

    Args:
        job: What is asked for.
        shop: What it works with.
        saved: The checkpoint to go on from, or None to start anew.

    Raises:
        OptionError: If the checkpoint is of another run.
    """

    def __init__(self, job: Job, shop: Workshop, saved: Checkpoint | None) -> None:
        self.job, self.shop, self.plan = job, shop, shop.plan
        metrics = job.output / METRICS
        callback = job.callback if shop.main else None
        self.journal = Journal(metrics if shop.main else None, callback, shop.plan.steps)
        self.finite = torch.ones((), dtype=torch.bool, device=shop.device)
        self.last_progress = 0.0
        if shop.main:
            job.output.mkdir(parents=True, exist_ok=True)
            checkpoint.remove_leftovers(job.output)
        if saved is None:
            if shop.main:
                metrics.unlink(missing_ok=True)
            self.watch = Stopwatch()
            self.at = Position(start=self._evaluate())
            self._say("start", **self._facts(), before=self._start.to_json())
        else:
            self._restore(saved)
        for note in shop.notes:
            logger.warning("%s", note)
            self._say("notice", text=note)

    @property
    def _start(self) -> Evaluation:
        if self.at.start is None:
            msg = "the backbone has not been measured"
            raise RuntimeError(msg)
        return self.at.start

    def _restore(self, saved: Checkpoint) -> None:
        for name, now in self._identity().items():
            before = saved.state["identity"].get(name)
            if before != now:
                raise OptionError(
                    f"the run in this folder was started with another {name.replace('_', ' ')} ({before}, now {now})",
                    where=str(self.job.output),
                    remedy="Resume with what it was started with, or choose another folder",
                )
        shop = self.shop
        shop.system.load_state_dict(saved.part(SYSTEM))
        if shop.optimizer is not None:
            checkpoint.restore_optimizer(shop.optimizer, shop.system, saved.part(OPTIMIZER))
        state = saved.part(RANDOM)[str(shop.accelerator.process_index)]
        checkpoint.restore_random_state(state, shop.device)
        self.at = Position.from_checkpoint(saved)
        self.at.means.sums = {k: v.to(shop.device) for k, v in self.at.means.sums.items()}
        self.watch = Stopwatch(self.at.seconds)
        self.journal.rewind(self.at.step)
        self.at.early_stopped = self._out_of_patience()
        self._say("notice", text=f"Resumed after step {self.at.step:,}.")
        before, now_threads = saved.state.get("threads"), torch.get_num_threads()
        if shop.device.type == "cpu" and before != now_threads:
            shop.notes.append(
                f"The run was started with {before} CPU threads and goes on with {now_threads}: sums are added in "
                "another order, so weights differ in the last digits from those of a run that was not interrupted."
            )

    def _identity(self) -> dict[str, Any]:
        """What must be the same for a run to go on."""
        options = {k: v for k, v in dataclasses.asdict(self.job.options).items() if k not in FREE_TO_CHANGE}
        return {
            "variant": self.job.variant.id,
            "value of a parameter": self.job.variant.values,
            "composition of the variant": self.job.variant.composition,
            "option": options,
            "set of training data": self.job.pairs.digest,
            "set of dev data": None if self.job.dev is None else self.job.dev.digest,
            "backbone": self.shop.encoder.digest,
            "number of processes": self.shop.accelerator.num_processes,
        }

    def go(self) -> TrainingResult:
        """Train to the end, and say how it ended.

        Raises:
            TrainingError: If the run had to stop; the best encoder so far is kept.
        """
        try:
            with memory_errors():
                return self._finish(self._steps())
        except Exception as error:
            reason = str(error) if isinstance(error, AntiCollapseError) else f"{type(error).__name__}: {error}"
            with suppress(OSError):  # the disk may be what is full
                self._say("end", status="failed", reason=reason, best_step=self.at.best_step)
            raise

    def _steps(self) -> Status:
        plan, at = self.plan, self.at
        if at.early_stopped:
            return "early-stopped"
        batches = self._batches(at.step * self.job.options.accumulation)
        self.watch.since = time.perf_counter()
        while at.step < plan.steps:
            if self._stopped():
                self._check_finite(at.step)
                self._save()
                return "stopped"
            self._step(batches)
            at.step += 1
            self.watch.steps_now += 1
            self._progress()
            last = at.step == plan.steps
            if last or at.step % plan.evaluate_every == 0:
                self._look()
                at.early_stopped = not last and self._out_of_patience()
                self._save()
                if at.early_stopped:
                    return "early-stopped"
            elif at.step % plan.checkpoint_every == 0:
                self._check_finite(at.step)
                self._save()
        return "done"

    def _out_of_patience(self) -> bool:
        """Whether too many steps have passed since the best evaluation."""
        patience = self.job.options.patience * self.plan.patience_unit
        return self.at.best is not None and 0 < patience <= self.at.step - self.at.best_step

    def _batches(self, number: int) -> Iterator[Batch]:
        """Batches from a number on, over all epochs."""
        while True:
            epoch, first = divmod(number, self.plan.epoch_batches)
            order = epoch_batches(self.shop.data.widths, self.plan.batch_size, self.job.options.seed, epoch)
            for batch in order[first:]:
                self.watch.items += len(batch)
                yield self.shop.collator(batch).to(self.shop.device)
                number += 1

    def _step(self, batches: Iterator[Batch]) -> None:
        """One optimizer step: losses, backward, enqueue, optimizer, momentum copy, in this order."""
        shop, optimizer, options = self.shop, self.shop.optimizer, self.job.options
        if optimizer is None:
            msg = f"{self.job.variant.id} trains nothing"
            raise RuntimeError(msg)
        for group in optimizer.param_groups:
            group["lr"] = rate_at(self.at.step, self.plan.steps, self.plan.learning_rate, options.warmup)
        for part in range(options.accumulation):
            # Gradients of several processes are averaged once, with the last part.
            last = part == options.accumulation - 1
            with nullcontext() if last else shop.accelerator.no_sync(shop.model):
                out = shop.model(next(batches))
                shop.accelerator.backward(out["loss"] / options.accumulation)
            shop.system.after_loss(out)
            self.finite &= out["loss"].detach().isfinite()
            self.at.means.add({k: v for k, v in out.items() if k == "loss" or k.startswith(("term/", "stat/"))})
        if options.max_grad_norm:
            norm = shop.accelerator.clip_grad_norm_(shop.model.parameters(), options.max_grad_norm)
            self.finite &= norm.isfinite()
        if shop.device.type == "cpu" or self.at.step % CHECK_EVERY == 0:
            self._check_finite(self.at.step + 1)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        shop.system.after_step()

    def _check_finite(self, step: int) -> None:
        if not bool(self.finite):
            kept = "No encoder was written yet"
            if self.at.best is not None:
                kept = f"The best encoder so far (step {self.at.best_step:,}) is kept"
            raise TrainingError(
                f"the loss, its gradient or a vector is no longer a number at step {step:,}",
                remedy=f"{kept}. Lower the learning rate, lengthen the warm-up, or compute in float32",
            )

    def _stopped(self) -> bool:
        if self.shop.accelerator.num_processes == 1:
            return self.job.stop()
        if self.at.step % CHECK_EVERY:
            return False
        wanted = torch.tensor([int(self.job.stop())], device=self.shop.device)
        return bool(broadcast(wanted).item())

    def _progress(self) -> None:
        now = time.perf_counter()
        if now - self.last_progress < PROGRESS_SECONDS and self.at.step < self.plan.steps:
            return
        self.last_progress = now
        left = self.watch.seconds_left(self.plan.steps - self.at.step)
        best = None if self.at.best is None else self.at.best.dev_spearman
        self._say("progress", seconds=self.watch.seconds, seconds_left=left, best_dev_spearman=best)

    def _evaluate(self) -> Evaluation:
        measured = self.shop.evaluator(self.shop.system, self.shop.device)
        release_memory()
        return measured

    def _look(self) -> None:
        """Evaluate, report, keep the best."""
        self._check_finite(self.at.step)
        with self.watch.paused():
            rate = self.watch.read_rate()
            now = self._evaluate()
            if not now.finite:
                self.finite &= False
                self._check_finite(self.at.step)
            better = self._agreed(self._better(now))
            self._report(now, rate, best=better)
            if better:
                self.at.best, self.at.best_step = now, self.at.step
                self._write(now, "running")

    def _report(self, now: Evaluation, rate: float | None, *, best: bool) -> None:
        at, options = self.at, self.job.options
        means = at.means.read()
        alarm = collapse_alarm(now, self._start)
        self._say(
            "evaluation",
            epoch=at.step * options.accumulation / self.plan.epoch_batches,
            **now.to_json(),
            loss=means.pop("loss", None),
            terms={k.removeprefix("term/"): v for k, v in means.items() if k.startswith("term/")},
            **{k.removeprefix("stat/"): v for k, v in means.items() if k.startswith("stat/") and COUNTS not in k},
            counts={k.removeprefix(COUNTS): v for k, v in means.items() if k.startswith(COUNTS)},
            items_per_second=rate,
            learning_rate=rate_at(at.step - 1, self.plan.steps, self.plan.learning_rate, options.warmup),
            seconds=self.watch.seconds,
            best=best,
            alarm=alarm,
        )
        if alarm:
            logger.warning("%s", alarm)
            self._say("alarm", text=alarm)

    def _better(self, now: Evaluation) -> bool:
        best = self.at.best
        if best is None or best.dev_spearman is None:
            return True  # without grades to choose by, the latest is kept
        # With grades there is no Spearman where all cosines are the same: the collapse is complete.
        return now.dev_spearman is not None and now.dev_spearman > best.dev_spearman

    def _agreed(self, decision: bool) -> bool:  # noqa: FBT001  it is the value
        """What the first process decided: rounding may differ, and all have to go the same way."""
        if self.shop.accelerator.num_processes == 1:
            return decision
        return bool(broadcast(torch.tensor([int(decision)], device=self.shop.device)).item())

    def _write(self, now: Evaluation, status: str) -> None:
        """Write the encoder as it is now."""
        if self.shop.main:
            record = self._record(now, self.at.step, status)
            export.export(self.job.output, self.shop.encoder.model, self.shop.system, self.at.step, record)
            self._say("checkpoint", model=export.MODEL)

    def _save(self) -> None:
        """Write the checkpoint to resume from."""
        at, shop = self.at, self.shop
        with self.watch.paused():
            at.seconds = self.watch.seconds
            state = checkpoint.random_state(shop.device)[None].to(shop.device)
            states = gather(state) if shop.accelerator.num_processes > 1 else state
            if not shop.main or shop.optimizer is None:
                return
            tensors = {SYSTEM + k: v for k, v in shop.system.state_dict().items()}
            moments = checkpoint.optimizer_tensors(shop.optimizer, shop.system)
            tensors |= {OPTIMIZER + k: v for k, v in moments.items()}
            tensors |= {f"{RANDOM}{rank}": row for rank, row in enumerate(states.cpu())}
            tensors |= {MEANS + k: v for k, v in at.means.sums.items()}
            plain = {"identity": self._identity(), "bfloat16": shop.system.use_bfloat16, "position": at.to_json()}
            plain["threads"] = torch.get_num_threads()
            checkpoint.save(self.job.output / LAST, tensors, plain)

    def _finish(self, status: Status) -> TrainingResult:
        """Say how it ended; a run that was never measured leaves the encoder as it is now."""
        at, output = self.at, self.job.output
        after, step = at.best, at.best_step
        if after is None:
            after, step = self._evaluate(), at.step
            self._write(after, status)
        elif self.shop.main and (output / export.MODEL / export.RECORD).exists():
            record = self._record(after, step, status)
            export.write_record(output / export.MODEL, {**record, "heads": export.heads_of(output)})
        self._say(
            "end",
            status=status,
            best_step=step,
            before=self._start.to_json(),
            after=after.to_json(),
            seconds=self.watch.seconds,
        )
        return TrainingResult(
            output=output,
            model=output / export.MODEL,
            status=status,
            step=at.step,
            best_step=step,
            before=self._start,
            after=after,
            seconds=self.watch.seconds,
            notes=tuple(self.shop.notes),
        )

    def _facts(self) -> dict[str, Any]:
        """What a run is, for the journal and for the record."""
        job, shop = self.job, self.shop
        options = dataclasses.asdict(job.options)
        options |= {"batch_size": self.plan.batch_size, "learning_rate": self.plan.learning_rate}
        return {
            "variant": {k: v for k, v in job.variant.to_json().items() if k not in {"parameters", "defaults"}},
            "parameters": job.variant.values,
            "options": options,
            "steps": self.plan.steps,
            "data": {
                "name": job.pairs.name,
                "n": job.pairs.n,
                "digest": job.pairs.digest,
                "dev": "" if job.dev is None else job.dev.name,
                "dev_digest": "" if job.dev is None else job.dev.digest,
            },
            "backbone": export.backbone_of(shop.encoder),
            "device": str(shop.device),
            "processes": shop.accelerator.num_processes,
            "bfloat16": shop.system.use_bfloat16,
            "command": job.command,
            "versions": export.versions(),
        }

    def _record(self, now: Evaluation, step: int, status: str) -> dict[str, Any]:
        measures = {"before": self._start.to_json(), "after": now.to_json()}
        notes = {"status": status, "step": step, "notes": self.shop.notes, "seconds": self.watch.seconds}
        return {**self._facts(), **measures, **notes}

    def _say(self, kind: Any, **values: object) -> None:  # noqa: ANN401  one of EventKind
        self.journal.say(kind, self.at.step, **values)
