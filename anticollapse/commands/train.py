"""``anticollapse train VARIANT …``: train an encoder on sentence pairs."""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anticollapse.commands.common import add_reading_arguments, progress_bar, reading_from, stop_signal
from anticollapse.commands.doctor import Subparsers
from anticollapse.commands.parser import Parser
from anticollapse.commands.terminal import print_json
from anticollapse.data import PairSet, load_pairs
from anticollapse.data.sources import SOURCES
from anticollapse.wording import count

if TYPE_CHECKING:
    from anticollapse.training import Event, Parameter, TrainingOptions, TrainingResult, Variant

SHOWN = {
    "dev_spearman": "dev Spearman × 100",
    "mean_unrelated_cosine": "mean cosine of unrelated sentences",
    "std_sqrt_d": "std × √d",
    "effective_rank": "effective rank",
}
INTERRUPTED = 130
ALIASES = {"learning_rate": ("--lr",)}


def add_parser(subparsers: Subparsers) -> None:
    """Add the command. The options of a variant come from its definition, so they are parsed once it is known."""
    parser = subparsers.add_parser(
        "train",
        help="train an encoder on sentence pairs",
        usage="%(prog)s [--variant-file FILE.py] VARIANT --backbone ENCODER --pairs FILE_OR_NAME --output DIR […]",
        description="Train a variant from a backbone. 'anticollapse variants' lists the variants, 'anticollapse train "
        "VARIANT --help' the options and parameters of one.",
    )
    parser.add_argument("--variant-file", action="append", default=[], metavar="FILE.py", help="variants of your own")
    parser.add_argument("variant", metavar="VARIANT", help="see 'anticollapse variants'")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        AntiCollapseError: Whatever the user can mend.
    """
    from anticollapse.training import get_variant, load_variant_file, train

    early, _ = _file_parser().parse_known_args(args.rest)
    for file in [*args.variant_file, *early.variant_file]:
        load_variant_file(file)
    variant = get_variant(args.variant)
    given = option_parser(variant).parse_args(args.rest)
    variant, options = settings_of(variant, given)
    pairs, dev = load_training_pairs(given.pairs, given.dev, **reading_from(given))
    main = os.environ.get("RANK", "0") == "0"
    with progress_bar(variant.id, unit="steps") as progress, stop_signal() as stopped:

        def report(event: Event) -> None:
            if event.kind == "progress":
                progress(event.step, event.steps)
            elif event.kind == "evaluation" and not given.json:
                print(_line(event), file=sys.stderr)

        result = train(
            variant,
            given.backbone,
            pairs,
            dev=dev,
            output=given.output,
            options=options,
            device=given.device,
            resume=given.resume,
            callback=report,
            stop=lambda: bool(stopped),
            command=own_command(args),
        )
    if main:
        go_on = resume_command(args) if result.status == "stopped" else ""
        if given.json:
            print_json({"variant": variant.id, **result.to_json(), "resume_command": go_on})
        else:
            print(describe(result, variant, patience=options.patience, go_on=go_on))
    return INTERRUPTED if result.status == "stopped" else 0


def settings_of(variant: Variant, given: argparse.Namespace) -> tuple[Variant, TrainingOptions]:
    """The variant with the parameters that were given, and the other options of the training.

    Args:
        variant: As it is in the registry.
        given: What :func:`option_parser` read.

    Raises:
        OptionError: A value is out of bounds.
    """
    from anticollapse.training import TrainingOptions

    chosen = {k: v for k, v in vars(given).items() if v is not None}
    fields = {field.name for field in dataclasses.fields(TrainingOptions)}
    options = TrainingOptions(**{k: v for k, v in chosen.items() if k in fields})
    return variant.with_parameters({k: v for k, v in chosen.items() if k in variant.values}), options


def resume_command(args: argparse.Namespace) -> str:
    """The command that goes on where this one stopped.

    Args:
        args: Of this command.
    """
    return own_command(args, *([] if "--resume" in args.rest else ["--resume"]))


def own_command(args: argparse.Namespace, *more: str) -> str:
    """This command, as a person would write it.

    Args:
        args: Of this command.
        more: Words at its end.
    """
    files = [word for file in args.variant_file for word in ("--variant-file", file)]
    return shlex.join(["anticollapse", "train", *files, args.variant, *args.rest, *more])


def option_parser(variant: Variant, *, queued: bool = False) -> argparse.ArgumentParser:
    """The options of one variant.

    Args:
        variant: The variant.
        queued: For a run that goes into the queue, which has a name and makes its own folder.
    """
    from anticollapse.training import TrainingOptions
    from anticollapse.training.parameters import parameters_of

    parser = Parser(
        prog=f"anticollapse {'runs start' if queued else 'train'} {variant.id}",
        description=variant.summary,
        parents=[] if queued else [_file_parser()],
        allow_abbrev=False,
    )
    needed = parser.add_argument_group("what and where")
    needed.add_argument("--backbone", required=True, metavar="ENCODER", help="an encoder by name, folder or Hub name")
    needed.add_argument(
        "--pairs", required=True, metavar="FILE_OR_NAME", help="training data: a file, or demo, stsb, stsb-zh"
    )
    needed.add_argument(
        "--dev",
        metavar="FILE_OR_NAME",
        help="graded pairs to choose the best checkpoint on (default: the dev split of a named set)",
    )
    if queued:
        needed.add_argument("--name", default="", help="what people will call the run (default: variant and backbone)")
    else:
        needed.add_argument("--output", required=True, type=Path, metavar="DIR", help="the run's folder")
        needed.add_argument("--resume", action="store_true", help="go on from the last checkpoint in DIR")
    needed.add_argument("--device", help="cpu, cuda, …; default: what accelerate finds, or was launched with")
    needed.add_argument("--json", action="store_true", help="print the result as one JSON document")
    add_reading_arguments(parser)
    general = parser.add_argument_group("training")
    for _, described in parameters_of(TrainingOptions()):
        _add_option(general, described, default=None)
    if variant.parameters:
        own = parser.add_argument_group(f"parameters of {variant.id}")
        for described in variant.parameters:
            _add_option(own, described, default=described.default)
    return parser


def load_training_pairs(
    name: str,
    dev: str | None,
    **reading: Any,  # noqa: ANN401  those of load_pairs
) -> tuple[PairSet, PairSet | None]:
    """Training and dev pairs; a named set gives its train and dev splits.

    Args:
        name: A file, or a named set with or without a split.
        dev: The same for the dev pairs, or None.
        reading: How files are read, as in :func:`anticollapse.data.load_pairs`.

    Raises:
        DataError: If one cannot be read.
        OptionError: If columns or a scale are stated and there is no file.
    """
    source, _, split = name.partition(":")
    named = source in SOURCES
    dev_is_file = dev is not None and dev.partition(":")[0] not in SOURCES
    own = {} if named and dev_is_file else reading
    pairs = load_pairs(name, split="train", **own) if named and not split else load_pairs(name, **own)
    if dev is not None:
        chosen = load_pairs(dev, **reading) if dev_is_file else load_pairs(dev, split="dev" if dev in SOURCES else None)
        return pairs, chosen
    return pairs, load_pairs(source, split="dev") if named and split in {"", "train"} else None


def describe(result: TrainingResult, variant: Variant, *, patience: int = 0, go_on: str = "") -> str:
    """The result as text.

    Args:
        result: What came of it.
        variant: What was trained.
        patience: As it was given.
        go_on: The command that resumes it, where it was stopped.
    """
    ended = {"done": "done", "stopped": "stopped", "early-stopped": "ended early"}[result.status]
    lines = [f"{variant.title}: {ended} after {count(result.step, 'step')} ({result.seconds:,.0f} s)."]
    if result.status == "early-stopped":
        lines.append(
            f"  Why: the dev Spearman of step {result.best_step:,} was not exceeded in the "
            f"{count(result.step - result.best_step, 'step')} since (--patience {patience}; 0 trains to the end)."
        )
    before, after = result.before.to_json(), result.after.to_json()
    for key, title in SHOWN.items():
        if isinstance(was := before[key], float) and isinstance(now := after[key], float):
            lines.append(f"  {title}: {was:.2f} → {now:.2f}")
    lines.append(f"The encoder of step {result.best_step:,} is in {result.model}.")
    lines += [f"Go on with: {go_on}"] if go_on else []
    return "\n".join(lines)


def _file_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--variant-file", action="append", default=[], metavar="FILE.py", help="variants of your own")
    return parser


def _add_option(group: Any, described: Parameter, *, default: object) -> None:  # noqa: ANN401  argparse's is private
    text = ". ".join(part for part in (described.help, described.bounds) if part)
    shown = f"{text} (default {described.default})" if default is not None else text
    shown = shown.replace("%", "%%")
    names = [described.option, *ALIASES.get(described.name, ())]
    if described.kind is bool:
        group.add_argument(*names, action=argparse.BooleanOptionalAction, default=None, help=shown)
    elif described.choices:
        group.add_argument(*names, type=described.kind, choices=described.choices, help=shown)
    else:
        metavar = {int: "N", float: "X"}.get(described.kind, "TEXT")
        group.add_argument(*names, type=described.kind, metavar=metavar, help=shown)


def _line(event: Event) -> str:
    values = event.values
    parts = [f"step {event.step:,}/{event.steps:,}", f"loss {values['loss']:.4f}"]
    for key, name in (("dev_spearman", "dev Spearman"), ("mean_unrelated_cosine", "mean unrelated cosine")):
        if values[key] is not None:
            parts.append(f"{name} {values[key]:.2f}")
    if values["items_per_second"]:
        parts.append(f"{values['items_per_second']:,.0f} items/s")
    return "  ".join(parts + (["best so far"] if values["best"] else []))
