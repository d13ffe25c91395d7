"""The pre-training loop."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import BertForMaskedLM

from anticollapse.data import PairSet
from anticollapse.encoding import bfloat16_supported, device_name
from anticollapse.errors import DataError, OptionError, TrainingError
from anticollapse.pretraining.base import Base
from anticollapse.pretraining.cooccurrence import start_bias, start_words
from anticollapse.pretraining.corpus import Corpus, load_corpus, save_corpus
from anticollapse.pretraining.engine import Stepper, make_optimizer, peak_flops
from anticollapse.pretraining.evaluation import Evaluation, held_out, with_pairs
from anticollapse.pretraining.export import MODEL, export, write_new
from anticollapse.pretraining.loading import Item, Loader
from anticollapse.pretraining.model import SAVED_DROPOUT, MaskedLanguageModel, build_model, flops_per_token
from anticollapse.pretraining.options import (
    BATCH_TOKENS_CPU,
    BATCH_TOKENS_GPU,
    FREE_TO_CHANGE,
    MOST_ENTRIES,
    PretrainingOptions,
    rate_at,
)
from anticollapse.pretraining.packing import LONG_ROW, SHORT_ROW
from anticollapse.pretraining.position import Position, PretrainingResult, Status
from anticollapse.pretraining.vocabulary import SPECIAL
from anticollapse.training import checkpoint
from anticollapse.training.checkpoint import Checkpoint
from anticollapse.training.export import versions
from anticollapse.training.setup import make_accelerator
from anticollapse.training.telemetry import Callback, Journal

logger = logging.getLogger(__name__)

Stop = Callable[[], bool]

METRICS = "metrics.jsonl"
LAST = Path("checkpoint") / "last.safetensors"
TOKENS = "text.tokens"
MODEL_PART, OPTIMIZER_PART = "model.", "optimizer."
LOOK_EVERY_GPU = 50
"""Steps between two looks at loss and clock on a GPU: a look makes the host wait."""
PROGRESS_SECONDS = 0.5
FROM = "encoder to go on from"
UNKNOWN = 0.1
"""Share of unknown tokens from which on the record says so."""


def pretrain(
    corpus: Corpus | Callable[[], Corpus] | None,
    *,
    output: Path,
    options: PretrainingOptions,
    base: Base | None = None,
    dev: PairSet | None = None,
    device: str | None = None,
    resume: bool = False,
    callback: Callback | None = None,
    stop: Stop = lambda: False,
    command: str = "",
    licence: str = "",
) -> PretrainingResult:
    """Pre-train a BERT on text with the masked-language-model objective.

    Args:
        corpus: The text, or what reads it once all else is known to be right; None takes that of the run that is
            resumed.
        output: The run's folder: the encoder goes to ``model``, the checkpoint to ``checkpoint``, measures to
            ``metrics.jsonl``, the tokens to ``text.tokens``.
        options: What and how long; with ``base`` from :func:`~anticollapse.pretraining.adapting`.
        base: An encoder to go on from; None starts from nothing.
        dev: Graded pairs to measure on, never trained on.
        device: ``cpu``, ``cuda``, …; None takes a GPU where there is one.
        resume: Go on from the checkpoint in ``output``.
        callback: Told of events.
        stop: Asked before each step; True ends this part with a checkpoint.
        command: For the card.
        licence: Of the text, for the card; empty when it is not stated.

    Raises:
        AntiCollapseError: Whatever the user can mend.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    saved: Checkpoint | None = None
    if resume and (output / LAST).exists():
        saved = checkpoint.load(output / LAST)
        corpus = corpus or load_corpus(output / TOKENS)
    if corpus is None:
        raise OptionError("there is no checkpoint to resume from", where=str(output), remedy="Give --text")
    if options.batch_tokens and options.batch_tokens < LONG_ROW:
        raise OptionError(f"--batch-tokens {options.batch_tokens} is less than a sequence may have ({LONG_ROW})")
    if saved is None and (output / LAST).exists():
        raise OptionError("there is a run already", where=str(output), remedy="Give --resume, or another --output")
    accelerator = make_accelerator(device)
    if accelerator.num_processes > 1:
        # A network of this size is trained in minutes by one GPU, whose captured steps leave no room for hooks.
        raise OptionError("pre-training runs in one process", remedy="Start it without a launcher")
    if callable(corpus):
        corpus = corpus()
    run = Run(corpus, output, options, base, dev, accelerator.device, saved, callback, command, licence)
    return run.go(stop)


class Run:
    """One pre-training; see :func:`pretrain`."""

    def __init__(
        self,
        corpus: Corpus,
        output: Path,
        options: PretrainingOptions,
        base: Base | None,
        dev: PairSet | None,
        device: torch.device,
        saved: Checkpoint | None,
        callback: Callback | None,
        command: str,
        licence: str,
    ) -> None:
        self.corpus, self.output, self.options, self.dev = corpus, output, options, dev
        self.base, self.device, self.command, self.licence = base, device, command, licence
        on_gpu = device.type == "cuda"
        self.batch_tokens = options.batch_tokens or (BATCH_TOKENS_GPU if on_gpu else BATCH_TOKENS_CPU)
        self.bfloat16 = options.precision == "bfloat16" or (options.precision == "auto" and bfloat16_supported(device))
        self.look_every = LOOK_EVERY_GPU if on_gpu else 1
        self.digest = corpus.digest
        if not (corpus.ids >= len(SPECIAL)).any():
            raise DataError("no token of the text is known to the vocabulary", remedy="Give text in its language")
        self.has_head = False
        self.before: dict[str, float | int | None] | None = None
        if base is not None:
            if corpus.tokenizer != base.tokenizer:
                raise OptionError(
                    f"the tokens were not prepared with the vocabulary of {base.encoder.name}",
                    remedy="Give the text itself, or tokens prepared with the same --from",
                )
            given = None if options.dropout == base.dropout else options.dropout
            bert, self.has_head = base.network(given, options.seed)
        else:
            if corpus.facts.get("vocabulary_given"):
                raise OptionError(
                    "the tokens were prepared with an encoder's vocabulary", remedy="Give the same --from"
                )
            bert = build_model(options, corpus.vocabulary_size)
            if saved is None:
                self._start_from_text(bert)
        self.model = MaskedLanguageModel(bert).to(device)
        self.model.train()
        self.optimizer = make_optimizer(self.model, weight_decay=options.weight_decay, device=device)
        self.at = Position()
        self.record: dict[str, Any] = {}
        self.started = self.checkpointed = time.perf_counter()
        self.loss_sum = torch.zeros((), device=device)
        self.loss_steps = 0
        output.mkdir(parents=True, exist_ok=True)
        self.journal = Journal(output / METRICS, callback, 0)
        if saved is None:
            (output / METRICS).unlink(missing_ok=True)
            torch.manual_seed(options.seed)  # dropout
            save_corpus(corpus, output / TOKENS, compress=False)
            if base is not None:
                self.before = held_out(self.model, corpus, options, device, bfloat16=self.bfloat16).to_json()
            self._say("start", **self._facts())
            for note in self._notes():
                self._say("notice", text=note)
        else:
            self._restore(saved)
        self.stepper = Stepper(
            self.model,
            self.optimizer,
            device,
            bfloat16=self.bfloat16,
            max_grad_norm=options.max_grad_norm,
            engine=options.engine,
        )

    @property
    def word_start(self) -> str:
        """Where the word vectors start: in an encoder, at random, or from neighbours where the vocabulary is small."""
        if self.base is not None:
            return "encoder"
        if self.options.word_start == "auto":
            return "neighbours" if self.corpus.vocabulary_size <= MOST_ENTRIES else "random"
        return self.options.word_start

    def _start_from_text(self, bert: BertForMaskedLM) -> None:
        if self.word_start == "neighbours":
            start_words(bert, self.corpus, seed=self.options.seed)
        if self.options.frequency_bias:
            start_bias(bert, self.corpus)

    def _restore(self, saved: Checkpoint) -> None:
        known, asked = saved.state["identity"], self._identity()
        if known.get(FROM) != asked.get(FROM):  # first, as options follow from it
            raise OptionError(
                "the run in this folder was started with another encoder to go on from, or with none",
                where=str(self.output),
                remedy="Resume with the same --from, or choose another folder",
            )
        for name in [*asked, *(name for name in known if name not in asked)]:
            before, now = known.get(name), asked.get(name)
            if before != now:
                raise OptionError(
                    f"the run in this folder was started with another {name} ({before}, now {now})",
                    where=str(self.output),
                    remedy="Resume with what it was started with, or choose another folder",
                )
        weights = saved.part(MODEL_PART)
        with torch.no_grad():
            for name, weight in self.model.named_parameters():
                weight.copy_(weights[name])
        checkpoint.restore_optimizer(self.optimizer, self.model, saved.part(OPTIMIZER_PART))
        checkpoint.restore_random_state(saved.tensors["random"], self.device)
        self.at = Position.from_json(saved.state["position"])
        self.bfloat16 = bool(saved.state["bfloat16"])
        self.before = saved.state.get("before")
        self.journal.rewind(self.at.step)
        self._say("notice", text=f"Resumed after step {self.at.step:,}.")

    def _notes(self) -> list[str]:
        notes = []
        if self.base is not None and not self.has_head:
            notes.append(
                f"The file of {self.base.encoder.name} has no head for masked tokens; that starts at random, so the "
                "loss starts high and the first passes go into the head."
            )
        share = self.corpus.facts["unknown_share"]
        if share > UNKNOWN:
            notes.append(f"{100 * share:.0f} % of the tokens are unknown to the vocabulary; these teach nothing.")
        return notes

    def _identity(self) -> dict[str, Any]:
        """What must be the same for a run to go on."""
        options = {k: v for k, v in dataclasses.asdict(self.options).items() if k not in FREE_TO_CHANGE}
        if not options["passes"]:
            del options["passes"]  # runs of older versions know no such option
        options["batch_tokens"] = self.batch_tokens
        known = {**{f"value of {k}": v for k, v in options.items()}, "text or vocabulary": self.digest}
        return known if self.base is None else {FROM: self.base.encoder.digest, **known}

    @property
    def progress(self) -> float:
        """Share of the run that is done, 0 to 1."""
        if self.options.minutes:
            return min(1.0, self.at.seconds / (60 * self.options.minutes))
        wanted = self.options.tokens or self.options.passes * self.corpus.facts["tokens"]
        return min(1.0, self.at.tokens / wanted)

    def go(self, stop: Stop) -> PretrainingResult:
        """Train until the end, or until asked to stop.

        Raises:
            TrainingError: If the loss is no longer a number; the last encoder and checkpoint stay.
        """
        status = self._steps(stop)
        if status == "stopped":
            self._save()  # first, as whoever stopped it may not wait for the evaluation
        if status == "stopped" or not self.record:
            self._evaluate(status)
        self._say("end", status=status, measures=self.record["measures"], seconds=self.at.seconds)
        return PretrainingResult(output=self.output, model=self.output / MODEL, status=status, record=self.record)

    def _steps(self, stop: Stop) -> Status:
        if self.progress >= 1:
            return "done"
        items = Loader(self.corpus, self.options, self.batch_tokens, self.device).items(self.at.place)
        shapes: set[torch.Size] = set()
        last_progress = since = time.perf_counter()
        while True:
            if stop() or self._part_is_over():
                self._look(since)
                return "stopped"
            item = next(items)
            if self.device.type == "cuda" and item.batch[0].shape not in shapes:
                # What the first step of a shape takes to compile is no training time.
                shapes.add(item.batch[0].shape)
                self._look(since)
                self._one(item)
                torch.cuda.synchronize(self.device)
                since = time.perf_counter()
            else:
                self._one(item)
            if self.at.step % self.look_every == 0 or self._nearly_done(since):
                since = self._look(since)
            if time.perf_counter() - last_progress > PROGRESS_SECONDS:
                last_progress = time.perf_counter()
                self._say("progress", share=self.progress, tokens=self.at.tokens, loss=self.at.loss)
            if self.progress >= 1:
                self._look(since)
                self._evaluate("done")
                self._save()
                return "done"
            if self.progress >= (self.at.evaluations + 1) / self.options.evaluations:
                self._look(since)
                self._evaluate("running")
                self._save()
                since = time.perf_counter()
            elif time.perf_counter() - self.checkpointed > 60 * max(self.options.checkpoint_minutes, 1e-3):
                self._look(since)
                self._save()
                since = time.perf_counter()

    def _one(self, item: Item) -> None:
        rate = rate_at(self.progress, self.options.learning_rate, self.options.warmup)
        self.loss_sum += self.stepper(item.batch, rate)
        self.loss_steps += 1
        at = self.at
        at.step += 1
        at.tokens += item.tokens
        at.places += item.places
        at.place = item.after

    def _nearly_done(self, since: float) -> bool:
        """Whether the clock may have run out since the last look."""
        if not self.options.minutes:
            return False
        return self.at.seconds + time.perf_counter() - since >= 60 * self.options.minutes

    def _part_is_over(self) -> bool:
        limit = self.options.stop_after
        return bool(limit) and time.perf_counter() - self.started >= 60 * limit

    def _look(self, since: float) -> float:
        """Read loss and clock; the present moment."""
        if self.loss_steps:
            loss = float(self.loss_sum) / self.loss_steps  # waits for the device
            if loss != loss or loss in {float("inf"), float("-inf")}:
                raise TrainingError(
                    f"the loss is no longer a number at step {self.at.step:,}",
                    remedy="Lower the learning rate, lengthen the warm-up, or compute in float32; the last checkpoint "
                    "is intact",
                )
            # The loss of one small batch says little: a running mean over about 100 looks on a CPU, 2 on a GPU.
            # A plain mean until there are so many, or a short run would end with the loss that it began with.
            self.at.looks += 1
            keep = min(0.99 if self.look_every == 1 else 0.5, 1 - 1 / self.at.looks)
            self.at.loss = keep * self.at.loss + (1 - keep) * loss
            self.loss_sum.zero_()
            self.loss_steps = 0
        now = time.perf_counter()
        self.at.seconds += now - since
        return now

    def _evaluate(self, status: str) -> None:
        """Measure, and write the encoder with its card."""
        at = self.at
        measured = held_out(self.model, self.corpus, self.options, self.device, bfloat16=self.bfloat16)
        at.evaluations = min(self.options.evaluations, int(self.progress * self.options.evaluations + 1e-9))

        def record(folder: Path) -> Mapping[str, Any]:
            self.record = self._record(with_pairs(measured, folder, self.dev, self.device), status)
            return self.record

        def write(folder: Path) -> None:
            if self.base is not None:
                self.base.write(folder, self.model.bert)
            else:
                write_new(folder, self.model.bert, self.corpus.tokenizer, SAVED_DROPOUT)

        export(self.output, write, record)
        self._say(
            "evaluation",
            share=self.progress,
            tokens=at.tokens,
            seconds=at.seconds,
            loss=at.loss,
            learning_rate=rate_at(self.progress, self.options.learning_rate, self.options.warmup),
            tokens_per_second=self.record["tokens_per_second"],
            mfu=self.record["mfu"],
            **self.record["measures"],
        )

    def _save(self) -> None:
        """Write the checkpoint to resume from, as a whole."""
        tensors: dict[str, Tensor] = {MODEL_PART + name: value for name, value in self.model.named_parameters()}
        moments = checkpoint.optimizer_tensors(self.optimizer, self.model)
        tensors |= {OPTIMIZER_PART + name: value for name, value in moments.items()}
        tensors["random"] = checkpoint.random_state(self.device)
        state = {"identity": self._identity(), "bfloat16": self.bfloat16, "position": self.at.to_json()}
        state["before"] = self.before
        checkpoint.save(self.output / LAST, tensors, state)
        self.checkpointed = time.perf_counter()

    def _say(self, kind: Any, **values: object) -> None:  # noqa: ANN401  an EventKind
        self.journal.say(kind, self.at.step, **values)

    def _facts(self) -> dict[str, Any]:
        """What a run is, for the journal and for the record."""
        config = self.model.bert.config
        device, threads = device_name(self.device), torch.get_num_threads()
        if self.device.type == "cpu":
            device += f", {threads} thread{'s' if threads > 1 else ''}"
        return {
            "objective": "masked-language model",
            "shape": {
                "layers": config.num_hidden_layers,
                "width": config.hidden_size,
                "heads": config.num_attention_heads,
                "vocabulary": config.vocab_size,
                "parameters": sum(p.numel() for p in self.model.parameters()),
            },
            "options": {k: v for k, v in dataclasses.asdict(self.options).items() if k != "stop_after"},
            "batch_tokens": self.batch_tokens,
            "word_start": self.word_start,
            "from": None if self.base is None else self.base.facts(head=self.has_head),
            "data": {**self.corpus.facts, "digest": self.digest},
            "dev": {"name": self.dev.name, "n": self.dev.n} if self.dev is not None else {"name": "", "n": 0},
            "device": device,
            "bfloat16": self.bfloat16,
            "command": self.command,
            "licence": self.licence,
            "versions": versions(),
        }

    def _record(self, measured: Evaluation, status: str) -> dict[str, Any]:
        at = self.at
        peak = peak_flops(self.device)
        share = mfu = None
        if at.seconds:
            row = round((1 - self.options.long_share) * SHORT_ROW + self.options.long_share * LONG_ROW)
            flops = flops_per_token(self.model.bert.config, row, self.options.mask_rate) * at.places / at.seconds
            share = at.tokens / at.seconds
            mfu = flops / peak if peak else None
        return {
            **self._facts(),
            "status": status,
            "progress": self.progress,
            "steps": at.step,
            "tokens": at.tokens,
            "seconds": at.seconds,
            "tokens_per_second": share,
            "mfu": mfu,
            "engine": self.stepper.engine,
            "loss": at.loss,
            "measures": measured.to_json(),
            "before": self.before,
            "notes": self._notes(),
        }
