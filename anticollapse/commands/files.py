"""A missing file is told at once, and not after the seconds that torch takes to be imported."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from anticollapse.errors import DataError

READ = frozenset({"--pairs", "--input", "--text", "--fit-on", "--counts", "--dev", "--variant-file"})
"""Options that name what is read."""


def check_files(arguments: Sequence[str]) -> None:
    """Refuse a file that is not there.

    What looks like no path may be a named set; the command itself knows those.

    Args:
        arguments: Of the process.

    Raises:
        DataError: There is no such file.
    """
    for name in named_files(arguments):
        try:
            missing = ("/" in name or bool(Path(name).suffix)) and not Path(name).exists()
        except (OSError, ValueError):  # no file can have that name; the readers say why
            continue
        if missing:
            raise DataError("there is no such file", where=name, remedy="Check the path")


def named_files(arguments: Sequence[str]) -> Iterator[str]:
    """What follows the options that name files.

    Args:
        arguments: Of the process.
    """
    several = "pretrain" in arguments  # its --text takes any number of files
    option = ""
    for word in arguments:
        if word == "--":
            return
        if word.startswith("--"):
            option, _, value = word.partition("=")
            if value and option in READ:
                yield value
        elif option in READ:
            yield word
            option = option if several and option == "--text" else ""
