"""The one family of errors that a user can cause.

The command line prints ``str(error)`` on one line and exits with code 2; the app shows it as one message and the page
stays alive. Everything else that is raised is a bug of ours.
"""

from __future__ import annotations


class AntiCollapseError(Exception):
    """An error the user can mend: says what is wrong, where, and what to do.

    Args:
        what: What is wrong, one sentence without a full stop.
        where: File, row and column, when they are known, for example ``pairs.csv, row 3, column "score"``.
        remedy: What the user can do about it, one sentence without a full stop.
    """

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        self.what = what
        self.where = where
        self.remedy = remedy
        super().__init__(str(self))

    def __str__(self) -> str:
        """One line: ``where: what. remedy.``."""
        text = f"{self.where}: {self.what}." if self.where else f"{self.what}."
        return f"{text} {self.remedy}." if self.remedy else text


class DataError(AntiCollapseError):
    """Sentence pairs that cannot be read or used."""


class EncoderError(AntiCollapseError):
    """An encoder that cannot be found, loaded or used for what was asked."""


class OptionError(AntiCollapseError):
    """A parameter outside its range, or options that do not go together."""


class TrainingError(AntiCollapseError):
    """A training that cannot start or had to stop (data, memory, NaN)."""


class RunError(AntiCollapseError):
    """A run that cannot be found, started, stopped, resumed or deleted."""


class CancelledError(AntiCollapseError):
    """Work that the user stopped."""
