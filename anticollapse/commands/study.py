"""``anticollapse study ladder|queue …``: many trainings under one protocol, with their statistics."""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anticollapse.commands.common import progress_bar, stop_signal, writable
from anticollapse.commands.doctor import Subparsers
from anticollapse.commands.terminal import print_json
from anticollapse.errors import AntiCollapseError, OptionError, RunError

if TYPE_CHECKING:
    from anticollapse.encoding.encoder import Progress
    from anticollapse.studies import Bench, Cell, Row, State

logger = logging.getLogger(__name__)

INTERRUPTED = 130
WORKER = "ANTICOLLAPSE_STUDY_WORKER"
"""Set for the processes that --jobs starts: they do runs, and write no table."""


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "study",
        help="compare variants with seeds and intervals",
        description="Run many trainings under one protocol. A study that was stopped or killed goes on where it was "
        "when the same command is given again; several processes and machines may work on one folder.",
    )
    kinds = parser.add_subparsers(required=True, metavar="STUDY", title="studies")
    ladder = kinds.add_parser(
        "ladder",
        help="every variant from one backbone, with equal steps",
        description="Every variant from one backbone with equal steps and several seeds, and the claims beside what "
        "was measured.",
    )
    _add_common(ladder, "variants that are rows (default: all); the raw encoder always is")
    ladder.add_argument("--with-cures", action="store_true", help="the training-free cures are rows too")
    ladder.set_defaults(run=run, kind="ladder")
    queue = kinds.add_parser(
        "queue",
        help="size of the negative queue, with and without the cluster filter",
        description="Queue sizes against Spearman, hard and false negatives, with and without the SwAV filter.",
    )
    _add_common(queue, "variants with a queue (default: sbert-queue sbert-swav)")
    queue.add_argument("--sizes", nargs="+", type=float, metavar="X", help="queue sizes in batches (0 1 2.5 5 10)")
    queue.add_argument("--batch-sizes", nargs="+", type=int, metavar="N", help="pairs a step (the variant's default)")
    queue.set_defaults(run=run, kind="queue")


def _add_common(parser: argparse.ArgumentParser, variants: str) -> None:
    parser.add_argument("--backbone", required=True, metavar="ENCODER", help="an encoder by name, folder or Hub name")
    parser.add_argument(
        "--pairs", required=True, metavar="NAME", help="demo, stsb, stsb-zh, or a file with a split column"
    )
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="the study's folder")
    parser.add_argument("--seeds", type=int, default=5, metavar="K", help="seeds 0 … K − 1 (default 5)")
    parser.add_argument("--variants", nargs="+", default=[], metavar="VARIANT", help=variants)
    parser.add_argument("--variant-file", action="append", default=[], metavar="FILE.py", help="variants of your own")
    parser.add_argument(
        "--steps", type=int, default=0, metavar="N", help="optimizer steps of each run (0 = sbert's default epochs)"
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes that work side by side (default 1)")
    parser.add_argument("--device", help="cpu, cuda, …; default: a GPU where there is one")
    parser.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16"),
        default="auto",
        help="of the trainings; measured is always in float32 (default auto)",
    )
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="CPU threads a process (0 = automatic)")
    parser.add_argument("--keep-models", action="store_true", help="keep the trained encoders (default: measure only)")
    parser.add_argument("--no-estimate", action="store_true", help="do not measure first how long it will take")
    parser.add_argument("--table", action="store_true", help="train nothing, write the tables of what is there")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        AntiCollapseError: Whatever the user can mend.
    """
    from anticollapse import studies
    from anticollapse.training import load_variant_file

    for file in args.variant_file:
        load_variant_file(file)
    _check(args)
    failed: dict[str, str] = {}
    stopped = False
    cells: Sequence[Cell] = ()
    with writable(args.output):
        if not args.table:
            bench, cells = _prepare(args)
            left = studies.missing(args.output, cells)
            _announce(args, bench, cells, left)
            stopped, failed = _go(args, bench, cells)
        if WORKER not in os.environ:
            _show(args)
    if stopped:
        _say(_left(studies.missing(args.output, cells), len(cells)))
        return INTERRUPTED
    if failed:
        first, why = next(iter(failed.items()))
        raise RunError(f"{len(failed)} runs could not be done, the first being {first} ({why.rstrip('.')})")
    return 0


def _left(missing: Sequence[Cell], number: int) -> str:
    """How far a stopped study is, and how it goes on."""
    return (
        f"Stopped: {number - len(missing)} of {number} runs are finished. The same command goes on from there, a run "
        "that had begun from its last checkpoint."
    )


def _check(args: argparse.Namespace) -> None:
    if args.jobs < 1:
        raise OptionError(f"--jobs {args.jobs} is below 1")
    if args.threads < 0:
        raise OptionError(f"--threads {args.threads} is below 0")


def _prepare(args: argparse.Namespace) -> tuple[Bench, Sequence[Cell]]:
    """The study with what is asked for in it, and the runs that are asked for."""
    from anticollapse import studies
    from anticollapse.encoding import load_encoder
    from anticollapse.studies.plan import select

    rows: Sequence[Row]
    if args.kind == "ladder":
        rows = studies.ladder_rows(args.variants, with_cures=args.with_cures)
    else:
        from anticollapse.studies.designs import QUEUE_SIZES

        sizes = QUEUE_SIZES if args.sizes is None else tuple(args.sizes)
        rows = studies.queue_rows(args.variants, sizes=sizes, batch_sizes=tuple(args.batch_sizes or ()))
    splits = studies.load_splits(args.pairs)
    backbone = load_encoder(args.backbone, device=args.device)
    wanted = studies.make_plan(
        args.kind, rows, backbone, splits,
        pairs=args.pairs, seeds=args.seeds, steps=args.steps, precision=args.precision,
    )  # fmt: skip
    plan = studies.join_plan(args.output, wanted)
    bench = studies.Bench(
        plan=plan,
        splits=splits,
        backbone=backbone,
        folder=args.output,
        device=args.device,
        threads=args.threads,
        keep_models=args.keep_models,
        command=shlex.join(["python", "-m", "anticollapse", *sys.argv[1:]]),
    )
    return bench, select(plan, [row.key for row in rows], wanted.seeds)


def _announce(args: argparse.Namespace, bench: Bench, cells: Sequence[Cell], left: Sequence[Cell]) -> None:
    """What there is to do and about how long it takes, on standard error."""
    from anticollapse.studies.estimate import estimate
    from anticollapse.studies.execution import describe_plan

    if WORKER in os.environ:
        return
    _say(describe_plan(bench.plan, cells, left))
    if args.no_estimate or not left:
        return
    try:
        expected = estimate(
            bench.plan, args.output, left, bench.splits["train"], bench.splits["dev"], threads=args.threads,
            backbone=args.backbone,
        )  # fmt: skip
    except AntiCollapseError as error:
        _say(f"How long it takes is not known: {error}")
        return
    _say(f"About {_duration(expected.seconds)} with one process (from {expected.basis}).")


def _go(args: argparse.Namespace, bench: Bench, cells: Sequence[Cell]) -> tuple[bool, dict[str, str]]:
    """Do the runs; whether it was stopped, and what failed."""
    from anticollapse import studies
    from anticollapse.studies.execution import work_in_processes

    with progress_bar("study", unit="runs") as progress, stop_signal() as seen:
        report = _reporter(progress)
        if args.jobs > 1 and WORKER not in os.environ:
            command = [sys.executable, "-m", "anticollapse", *sys.argv[1:]]
            work_in_processes(
                command, args.jobs, args.output, cells, environment=_environment(args), stop=lambda: bool(seen),
                report=report,
            )  # fmt: skip
            if seen:
                return True, {}
        # After the processes, this one does what one of them left when it died.
        outcome = studies.work(bench, cells, stop=lambda: bool(seen), report=report)
    if outcome.elsewhere:
        _say(f"{len(outcome.elsewhere)} runs are being done by other processes.")
    return outcome.stopped, outcome.failed


def _environment(args: argparse.Namespace) -> dict[str, str]:
    from anticollapse.runs.queue import THREAD_VARIABLES

    threads = args.threads or max(1, len(os.sched_getaffinity(0)) // args.jobs)
    return {
        **os.environ,
        WORKER: "1",
        "TQDM_DISABLE": "1",
        **dict.fromkeys(THREAD_VARIABLES, str(threads)),
    }


def _reporter(progress: Progress) -> Callable[[State], None]:
    quiet = sys.stderr.isatty()

    def report(state: State) -> None:
        progress(state.done, state.cells)
        if state.finished is not None and not quiet:
            _say(f"{state.done}/{state.cells} {_summary(state.finished)}")

    return report


def _summary(result: dict[str, Any]) -> str:
    def number(split: str) -> str:
        value = result[split]["spearman"]
        return "–" if value is None else f"{value:.1f}"

    seconds = sum(result["seconds"].values())
    return (
        f"{result['row']} seed {result['seed']}: Spearman dev {number('dev')}, test {number('test')} ({seconds:,.0f} s)"
    )


def _show(args: argparse.Namespace) -> None:
    """Write the tables and print one of them."""
    from anticollapse.studies import load_study

    study = load_study(args.output)
    files = study.write()
    if args.json:
        print_json(study.to_json())
    else:
        print(study.markdown())
        _say(f"Written: {', '.join(str(file) for file in files)}")


def _say(text: str) -> None:
    if WORKER not in os.environ:
        print(text, file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
