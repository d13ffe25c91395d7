"""``anticollapse runs start|list|show|stop|resume|delete``: trainings that go on when page and terminal are closed."""

from __future__ import annotations

import argparse
import shlex
import time
from collections.abc import Callable

from anticollapse import runs
from anticollapse.commands.common import reading_from
from anticollapse.commands.doctor import Subparsers
from anticollapse.commands.terminal import print_json, table
from anticollapse.commands.train import load_training_pairs, option_parser, settings_of
from anticollapse.data.sources import SOURCES
from anticollapse.encoding import checkpoint_root
from anticollapse.errors import RunError
from anticollapse.runs import Run
from anticollapse.runs.split import hold_out
from anticollapse.wording import count

SHOWN = (
    ("dev Spearman × 100", "dev_spearman"),
    ("mean cosine of unrelated sentences", "mean_unrelated_cosine"),
    ("effective rank", "effective_rank"),
)
ELSEWHERE = (
    "A training of 'anticollapse train' is none of them: it lives in its own --output folder and goes on with --resume."
)
SHORTEST = 4
"""Digits of an id that are enough where they name one run."""


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "runs",
        help="start, list, show, stop, resume and delete trainings that go on by themselves",
        description="Trainings under the checkpoint root, started in the app, in Python or with 'runs start'. "
        f"{ELSEWHERE} Any of these commands also moves the queue on.",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION", title="actions")
    start = actions.add_parser(
        "start",
        help="queue a training; it goes on when the terminal is closed",
        usage="%(prog)s VARIANT --backbone ENCODER --pairs FILE_OR_NAME [--name NAME] […]",
        description="Queue a training as the app does, and return at once. 'anticollapse runs start VARIANT --help' "
        "lists the options and parameters of one; without --dev, a fifth of a file's scored pairs chooses the step.",
    )
    start.add_argument("variant", metavar="VARIANT", help="see 'anticollapse variants'")
    start.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    start.set_defaults(run=_start)
    listing = actions.add_parser("list", help="all runs, the newest first")
    listing.add_argument("--json", action="store_true", help="print one JSON document")
    listing.set_defaults(run=_list)
    for name, run, text in (
        ("show", _show, "request, state and measures of one run"),
        ("stop", _stop, "stop a run; the best encoder so far is kept"),
        ("resume", _resume, "put a stopped, failed or lost run back into the queue"),
        ("delete", _delete, "delete a run with its encoder"),
    ):
        action = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        action.add_argument("id", help="the run's id, its first digits, or its name")
        if name == "show":
            action.add_argument("--json", action="store_true", help="print one JSON document")
            action.add_argument("--log", type=int, default=0, metavar="LINES", help="also the last lines of its log")
        if name == "delete":
            action.add_argument("--yes", action="store_true", help="do not ask")
        action.set_defaults(run=run)


def find(text: str) -> Run:
    """The run whose id begins with a text, or that is called so.

    Args:
        text: At least four digits of the id, or the name.

    Raises:
        RunError: If there is none, or more than one.
    """
    begins = text.lower() if len(text) >= SHORTEST else "none"
    found = [run for run in runs.list_runs() if run.id.startswith(begins) or (text and run.name == text)]
    if len(found) == 1:
        return found[0]
    which = ", ".join(f'{run.id[:12]} ("{run.name}")' for run in found[:8])
    what = (
        f'{len(found)} runs begin with "{text[:40]}" or are called so: {which}'
        if found
        else f'there is no run "{text[:40]}"'
    )
    raise RunError(what, remedy=f"Give {SHORTEST} or more digits of an id that 'anticollapse runs list' shows")


def _start(args: argparse.Namespace) -> int:
    from anticollapse.training import get_variant

    variant = get_variant(args.variant)
    given = option_parser(variant, queued=True).parse_args(args.rest)
    variant, options = settings_of(variant, given)
    pairs, dev = load_training_pairs(given.pairs, given.dev, **reading_from(given))
    if dev is None and given.pairs.partition(":")[0] not in SOURCES:
        pairs, dev = hold_out(pairs)
    run = runs.start(variant, given.backbone, pairs, dev=dev, options=options, name=given.name, device=given.device)
    if given.json:
        print_json(run.to_json())
        return 0
    chosen = "none: the last step is kept" if dev is None else f"{dev.name}, {count(dev.n, 'row')}"
    short = run.id[:8]
    print(f"{run.id} {run.name}: {run.state}.")
    print(f"  Trains on {pairs.name}, {count(pairs.n, 'row')}; the best step is chosen on {chosen}.")
    print(f"  Watch it: anticollapse runs show {short} --log 20. Stop it: anticollapse runs stop {short}.")
    print(f"  When it is done, {short} is an encoder: anticollapse doctor {short} --pairs {shlex.quote(given.pairs)}")
    return 0


def _list(args: argparse.Namespace) -> int:
    found = runs.list_runs()
    if args.json:
        print_json([run.to_json() for run in found])
        return 0
    if not found:
        print(f"No run was started under {checkpoint_root()} yet. {ELSEWHERE}")
        return 0
    rows = []
    for run in found:
        progress = run.progress
        best = progress.get("dev_spearman_best", progress.get("best_dev_spearman"))
        steps = f"{progress.get('step', 0):,}/{progress['steps']:,}" if progress.get("steps") else "–"
        spearman = "–" if best is None else f"{best:.1f}"
        rows.append([run.id[:8], run.name, run.state, run.request.data["name"], steps, spearman, _time(run.started)])
    print(table(["id", "name", "state", "data", "steps", "dev Spearman", "started"], rows, right=(4, 5)))
    return 0


def _show(args: argparse.Namespace) -> int:
    run = find(args.id)
    if args.json:
        print_json(run.to_json())
        return 0
    request, progress = run.request, run.progress
    rows = [
        ["id", run.id],
        ["name", run.name],
        ["state", f"{run.state}. {run.reason}".strip() if run.reason else run.state],
        ["variant", request.variant],
        ["backbone", request.backbone],
        ["training data", f"{request.data['name']}, {count(request.data['n'], 'row')}"],
        ["dev data", "none" if request.dev is None else f"{request.dev['name']}, {count(request.dev['n'], 'row')}"],
        *[[key, str(value)] for key, value in {**request.options, **request.parameters}.items()],
        ["created", _time(run.created)],
        ["steps", f"{progress.get('step', 0):,} of {progress.get('steps', 0):,}"],
    ]
    for title, key in SHOWN:
        was, now = progress.get(f"{key}_before"), progress.get(f"{key}_best", progress.get(key))
        if was is not None and now is not None:
            rows.append([title, f"{was:.2f} → {now:.2f}"])
    if run.has_model:
        rows.append(["encoder", str(run.folder / "model")])
    print(table(["what", "value"], rows))
    if args.log:
        print(runs.log_tail(run.folder, args.log))
    return 0


def _stop(args: argparse.Namespace) -> int:
    return _say(args, lambda run: runs.stop(run.id, wait=True))


def _resume(args: argparse.Namespace) -> int:
    return _say(args, lambda run: runs.resume(run.id))


def _say(args: argparse.Namespace, action: Callable[[Run], Run]) -> int:
    run = action(find(args.id))
    print(f"{run.id[:8]} {run.name}: {run.state}. {run.reason}".strip())
    return 0


def _delete(args: argparse.Namespace) -> int:
    run = find(args.id)
    if not args.yes and not _agreed(f'Delete "{run.name}" with its encoder? There is no way back. [y/N] '):
        print("Nothing was deleted.")
        return 1
    runs.delete(run.id)
    print(f"{run.id[:8]} {run.name}: deleted")
    return 0


def _agreed(question: str) -> bool:
    try:
        return input(question).strip().lower() == "y"
    except EOFError:
        raise RunError("there is nobody to ask", remedy="Give --yes if you mean it") from None


def _time(seconds: float | None) -> str:
    return "–" if seconds is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
