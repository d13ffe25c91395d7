"""The command line: ``anticollapse …`` is ``python -m anticollapse …``."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from anticollapse import __version__
from anticollapse.commands.files import check_files
from anticollapse.commands.parser import Parser
from anticollapse.errors import AntiCollapseError

STOPPED = "anticollapse: stopped"
INTERRUPTED = 130


COMMANDS = (
    "doctor", "tokens", "explain", "cure", "map", "compare", "variants", "train", "pretrain", "study", "runs", "encode",
)  # fmt: skip
"""Modules of :mod:`anticollapse.commands`, in the order of the help."""


def build_parser(command: str = "") -> argparse.ArgumentParser:
    """The parser of one command, or of all.

    Commands import torch and pandas, some also plotly and umap-learn, which takes seconds, and which a machine that
    only trains may lack: of a command that is known the others are left alone.

    Args:
        command: The command that is asked for; where there is no such command, the parser has all.
    """
    parser = Parser(
        prog="anticollapse", description="Show, explain and cure the collapse of mean-pooled sentence vectors."
    )
    parser.add_argument("--version", action="version", version=f"anticollapse {__version__}")
    parser.add_argument("--verbose", action="store_true", help="log what is done, on standard error")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for name in (command,) if command in COMMANDS else COMMANDS:
        importlib.import_module(f"anticollapse.commands.{name}").add_parser(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: Without the program's name; default: those of the process.

    Returns:
        0, or 2 for an error that the user can mend (one line on standard error), 130 after Ctrl-C.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given == ["--version"]:
        print(f"anticollapse {__version__}")
        return 0
    try:
        check_files(given)
        with interrupts_end_at_once():
            parser = build_parser(next((word for word in given if not word.startswith("-")), ""))
        args = parser.parse_args(given)
        level = logging.INFO if args.verbose else logging.WARNING
        logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
        return int(args.run(args))
    except AntiCollapseError as error:
        print(f"anticollapse: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(STOPPED, file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has gone; what Python would still flush at exit has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


@contextmanager
def interrupts_end_at_once() -> Iterator[None]:
    """Ctrl-C in the block ends the process with one line.

    An exception in the middle of an import is a traceback of somebody else's modules, or is swallowed by one of them;
    and nothing is open yet that would have to be closed.
    """
    installed = end_on_interrupt()
    try:
        yield
    finally:
        if installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def end_on_interrupt() -> bool:
    """Let Ctrl-C end the process at once from now on, unless it is ignored or somebody else's already.

    Returns:
        Whether that was changed.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return False
    try:
        signal.signal(signal.SIGINT, _end)
    except ValueError:  # only the main thread may
        return False
    return True


def _end(*_: object) -> None:
    os.write(2, f"{STOPPED}\n".encode())
    os._exit(INTERRUPTED)
