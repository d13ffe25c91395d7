"""``anticollapse pretrain --text … --output …``: train a small BERT from text."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anticollapse.commands.common import add_reading_arguments, progress_bar, reading_from, stop_signal, writable
from anticollapse.commands.doctor import Subparsers
from anticollapse.commands.terminal import print_json
from anticollapse.commands.train import INTERRUPTED, _add_option
from anticollapse.data import PairSet, load_pairs
from anticollapse.data.language import mostly_chinese
from anticollapse.data.readers import TABLES
from anticollapse.data.sources import SOURCES
from anticollapse.errors import AntiCollapseError, DataError, OptionError
from anticollapse.wording import count

if TYPE_CHECKING:
    from anticollapse.pretraining import Base, Corpus, PretrainingResult
    from anticollapse.training import Event

DEV_SETS = {"en": "stsb", "zh": "stsb-zh"}
NONE = "none"
PERMILLE = 1000
ENGLISH, VOCABULARY = "en", 8192


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    from anticollapse.pretraining import PretrainingOptions
    from anticollapse.training.parameters import parameters_of

    parser = subparsers.add_parser(
        "pretrain",
        help="train a small BERT from text (masked-language model)",
        description="Train a small BERT from text with the masked-language-model objective, and save it as a plain "
        "sentence-transformers folder. With --prepare the text is only tokenised and compressed to one file, which "
        "--text takes later on a machine without the text.",
        epilog="examples: anticollapse pretrain --text wiki.txt.xz --output run --minutes 60; to go on from an "
        "encoder: anticollapse pretrain --from raw-mini --text mine.csv --passes 10 --output adapted",
        allow_abbrev=False,
    )
    needed = parser.add_argument_group("what and where")
    needed.add_argument(
        "--text",
        nargs="+",
        metavar="FILE_OR_NAME",
        help="text, one paragraph or sentence a line (.txt, also .xz, .gz, .bz2); the sentences of tables (.csv, .tsv, "
        ".xlsx, …) or of a named set such as stsb:train; or one file made by --prepare",
    )
    needed.add_argument(
        "--from",
        dest="base",
        metavar="ENCODER",
        help="go on from this BERT encoder, with its vocabulary, to bring it nearer to your kind of text; then the "
        "defaults are 1,024 tokens a step, a rate of 3e-4 at width 256 and less when wider, and the encoder's own "
        "dropout (default: start from nothing)",
    )
    needed.add_argument("--output", type=Path, metavar="DIR", help="the run's folder; the encoder goes to DIR/model")
    needed.add_argument("--prepare", type=Path, metavar="FILE", help="only tokenise and compress the text to FILE")
    needed.add_argument("--share", type=float, help="part of the lines that is kept, 0 to 1 (default 1)")
    needed.add_argument(
        "--language",
        choices=tuple(DEV_SETS),
        help="of the text (default: zh where most letters are Chinese, else en)",
    )
    needed.add_argument("--vocabulary", type=int, metavar="N", help=f"entries (default {VOCABULARY})")
    needed.add_argument(
        "--licence",
        default="",
        metavar="NAME",
        help="of the text, for the card, such as cc-by-sa-4.0 (default: not stated)",
    )
    needed.add_argument(
        "--dev",
        metavar="FILE_OR_NAME",
        help="graded pairs to measure on, never to train on (default: the dev split of stsb or stsb-zh where it is at "
        f"hand; {NONE} for none)",
    )
    needed.add_argument("--resume", action="store_true", help="go on from the last checkpoint in DIR")
    needed.add_argument("--device", help="cpu, cuda, …; default: a GPU where there is one")
    needed.add_argument("--json", action="store_true", help="print the result as one JSON document")
    add_reading_arguments(parser, "how a table is read")
    training = parser.add_argument_group("training")
    # Nothing can be told of an instance without a length; the length itself has no default.
    for _, described in parameters_of(PretrainingOptions(tokens=1)):
        zero = dataclasses.replace(described, default=0) if described.name == "tokens" else described
        _add_option(training, zero, default=None)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        AntiCollapseError: Whatever the user can mend.
    """
    if (args.prepare is None) == (args.output is None):
        raise OptionError("the place for the result is missing or stated twice", remedy="Give --output or --prepare")
    if args.prepare is not None:
        return _prepare(args)
    new = not args.output.exists()
    try:
        return _train(args)
    except AntiCollapseError:
        if new:
            with suppress(OSError):  # what is refused leaves no empty folder; one with something in it stays
                args.output.rmdir()
        raise


def _prepare(args: argparse.Namespace) -> int:
    from anticollapse.pretraining import Corpus, save_corpus

    with writable(args.prepare):
        args.prepare.parent.mkdir(parents=True, exist_ok=True)
    text, _ = _corpus(args, _base(args))
    corpus = text if isinstance(text, Corpus) else text()
    if not args.json:
        _say(f"compressing {count(corpus.facts['tokens'], 'token')}")
    save_corpus(corpus, args.prepare)
    size = args.prepare.stat().st_size
    facts = {**corpus.facts, "vocabulary": corpus.vocabulary_size, "bytes": size, "digest": corpus.digest}
    if args.json:
        print_json({"file": str(args.prepare), **facts})
    else:
        print(
            f"{args.prepare}: {facts['tokens']:,} tokens of {facts['lines']:,} lines in {size / 2**20:.1f} MiB "
            f"({size / facts['tokens']:.2f} bytes a token), {facts['held_out_tokens']:,} held out, "
            f"{100 * facts['unknown_share']:.2f} % unknown"
        )
    return 0


def _train(args: argparse.Namespace) -> int:
    from anticollapse.pretraining import PretrainingOptions, adapting, load_corpus, pretrain
    from anticollapse.pretraining.run import TOKENS

    fields = {field.name for field in dataclasses.fields(PretrainingOptions)}
    given = {k: v for k, v in vars(args).items() if k in fields and v is not None}
    base = _base(args)
    options = PretrainingOptions(**given) if base is None else adapting(base, **given)
    with writable(args.output):
        args.output.mkdir(parents=True, exist_ok=True)
    kept = args.output / TOKENS
    text: Corpus | Callable[[], Corpus] | None
    if args.resume and not args.text:
        text = load_corpus(kept) if kept.exists() else None
        language = ENGLISH if text is None else text.facts["language"]
    else:
        text, language = _corpus(args, base)
    dev = _dev_pairs(args.dev, language)
    with progress_bar("pre-training", unit="‰") as progress, stop_signal() as stopped:

        def report(event: Event) -> None:
            if event.kind == "progress":
                progress(int(PERMILLE * event.values["share"]), PERMILLE)
            elif event.kind == "evaluation" and not args.json:
                print(_line(event), file=sys.stderr)
            elif event.kind == "notice" and not args.json:
                _say(str(event.values["text"]))

        result = pretrain(
            text,
            output=args.output,
            options=options,
            base=base,
            dev=dev,
            device=args.device,
            resume=args.resume,
            callback=report,
            stop=lambda: bool(stopped),
            command=shlex.join(["anticollapse", *_command_line()]),
            licence=args.licence,
        )
    if args.json:
        print_json(result.to_json())
    else:
        print(describe(result))
    return INTERRUPTED if stopped and result.status == "stopped" else 0


def _base(args: argparse.Namespace) -> Base | None:
    """The encoder to go on from.

    Raises:
        OptionError: If a vocabulary is asked for besides.
    """
    from anticollapse.pretraining import open_base

    if args.base is None:
        return None
    if args.vocabulary is not None:
        raise OptionError(
            f"--vocabulary {args.vocabulary} is for new weights; {args.base} has a vocabulary",
            remedy="Leave the option out",
        )
    return open_base(args.base)


def _corpus(args: argparse.Namespace, base: Base | None) -> tuple[Corpus | Callable[[], Corpus], str]:
    """Prepared tokens, or what reads the text, and its language.

    Reading takes minutes, so all else that may be wrong is looked at first.
    """
    from anticollapse.pretraining import is_corpus, load_corpus, prepare_corpus
    from anticollapse.pretraining.text import first_lines

    if not args.text:
        raise OptionError("there is no text", remedy="Give --text FILE")
    # A named set and a table of pairs give their sentences; a file that is there is read as what it is.
    files = [Path(text) for text in args.text if not _is_table(text)]
    # Of a named set the training part, as nothing may be trained on what it is judged on.
    tables = [f"{text}:train" if text in SOURCES else text for text in args.text if _is_table(text)]
    if any(is_corpus(file) for file in files):
        if len(args.text) > 1 or args.prepare is not None:
            raise OptionError("prepared tokens stand alone", remedy="Give one prepared file, or only texts")
        corpus = _as_asked(load_corpus(files[0]), args)
        return corpus, corpus.facts["language"]  # prepared text knows its language
    found = [load_pairs(table, **reading_from(args)) for table in tables]
    sentences = [sentence for pairs in found for sentence in pairs.sentences]
    language = args.language or ("zh" if mostly_chinese(sentences or first_lines(files)) else ENGLISH)

    def read() -> Corpus:
        for pairs in found if not args.json else ():
            _say(" ".join([f"{pairs.name}: {count(len(pairs.sentences), 'different sentence')}.", *pairs.notes]))
        with progress_bar("tokenising", unit="lines") as progress:
            return prepare_corpus(
                files,
                language=language,
                vocabulary=0 if base is not None else VOCABULARY if args.vocabulary is None else args.vocabulary,
                tokenizer="" if base is None else base.tokenizer,
                sentences=sentences,
                name=", ".join(tables),
                share=1.0 if args.share is None else args.share,
                seed=args.seed or 0,
                progress=progress,
                stage=None if args.json else _say,
            )

    return read, language


def _is_table(text: str) -> bool:
    """Whether a text is a named set of pairs, or a table of them."""
    if Path(text).exists():
        return Path(text).suffix.lower() in TABLES
    return text.split(":")[0] in SOURCES


def _say(what: str) -> None:
    """Tell on standard error what begins: with hundreds of megabytes each part takes minutes."""
    print(what, file=sys.stderr, flush=True)


def _as_asked(corpus: Corpus, args: argparse.Namespace) -> Corpus:
    """Prepared tokens, unless what is asked for besides is not what they were prepared with.

    Raises:
        OptionError: If it is not.
    """
    for name, asked, is_so in (
        ("language", args.language, corpus.facts["language"]),
        ("vocabulary", args.vocabulary, corpus.facts.get("vocabulary_asked", corpus.vocabulary_size)),
        ("share", args.share, None),
    ):
        if asked is not None and asked != is_so:
            what = "keep all their lines" if is_so is None else f"have {is_so}"
            raise OptionError(
                f"--{name} {asked} is not for prepared tokens, which {what}",
                where=str(args.text[0]),
                remedy="Leave the option out, or prepare the text again with it",
            )
    return corpus


def _dev_pairs(asked: str | None, language: str) -> PairSet | None:
    if asked == NONE:
        return None
    name = asked or DEV_SETS[language]
    try:
        pairs = load_pairs(name, split="dev") if name in DEV_SETS.values() else load_pairs(name)
    except DataError as error:
        if asked is not None:
            raise
        _say(f"Measured on held-out text only, as --dev names no other pairs: {error}")
        return None
    if not pairs.labelled:
        raise OptionError(f"the pairs of {name} have no scores", remedy=f"Give graded pairs, or --dev {NONE}")
    return pairs


def describe(result: PretrainingResult) -> str:
    """The result as text."""
    record, measures = result.record, result.record["measures"]
    ended = "done" if result.status == "done" else f"stopped at {100 * record['progress']:.0f} % (go on with --resume)"
    speed = f", {record['tokens_per_second']:,.0f} tokens/s" if record["tokens_per_second"] else ""
    if record["mfu"] is not None:
        speed += f", {100 * record['mfu']:.1f} % of the device's peak"
    before, state = record["before"], "as it is" if record["from"] else "raw"

    def start(measure: str, times: int, digits: int) -> str:
        return f"{times * before[measure]:.{digits}f} → " if before else ""

    lines = [
        f"{ended}: {record['steps']:,} steps, {record['tokens']:,} tokens in {record['seconds'] / 60:.1f} minutes on "
        f"{record['device']}{speed}.",
        f"  held-out masked tokens: loss {start('held_out_loss', 1, 3)}{measures['held_out_loss']:.3f}, "
        f"{start('held_out_accuracy', 100, 1)}{100 * measures['held_out_accuracy']:.1f} % right",
    ]
    if measures["dev_spearman"] is not None:
        lines.append(
            f"  {record['dev']['name']}: Spearman × 100 {measures['dev_spearman']:.1f} {state}, mean cosine of "
            f"unrelated sentences {measures['mean_unrelated_cosine']:.2f}"
        )
    lines.append(f"The encoder is in {result.model}.")
    return "\n".join(lines)


def _line(event: Event) -> str:
    values: Any = event.values
    parts = [
        f"{100 * values['share']:.0f} %",
        f"{values['tokens']:,} tokens",
        f"loss {values['loss']:.3f}",
        f"held out {values['held_out_loss']:.3f} ({100 * values['held_out_accuracy']:.1f} % right)",
    ]
    if values["dev_spearman"] is not None:
        parts.append(f"dev Spearman {values['dev_spearman']:.1f}")
    if values["tokens_per_second"]:
        parts.append(f"{values['tokens_per_second']:,.0f} tokens/s")
    return "  ".join(parts)


def _command_line() -> list[str]:
    """What was asked for, with files by name: a card is read elsewhere."""
    # A name on the Hub has a slash as well, and is no path here.
    parts = [Path(part).name if "/" in part and Path(part).exists() else part for part in sys.argv[1:]]
    return parts if parts[:1] == ["pretrain"] else ["pretrain", *parts]
