"""The parser of all commands."""

from __future__ import annotations

import argparse
import difflib
import itertools
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with the arguments; the usage is what ``--help`` is for."""

    _given: Sequence[str] = ()

    def parse_known_args(  # type: ignore[override]  # typeshed has an overload for each kind of namespace
        self,
        args: Sequence[str] | None = None,
        namespace: Any = None,  # noqa: ANN401
    ) -> tuple[Any, list[str]]:
        """As argparse does; a command names what it does not know itself, for it knows what is near."""
        self._given = sys.argv[1:] if args is None else list(args)
        known, extras = super().parse_known_args(args, namespace)
        if extras and self._subparsers is None:
            self.error(f"unrecognized arguments: {' '.join(extras)}")
        return known, extras

    def error(self, message: str) -> NoReturn:
        """Exit with 2; a mistyped option is the cause of whatever argparse misses, so it is named first."""
        self.exit(2, f"{self.prog}: {self._mistyped() or message}; see {self.prog} --help\n")

    def _mistyped(self) -> str:
        """The first option that there is none of, with the nearest that there is; empty without one."""
        known = [option for option in self._option_string_actions if option.startswith("--")]
        for option in self._options():
            if option in known or (self.allow_abbrev and any(one.startswith(option) for one in known)):
                continue
            if self._leaves_rest():
                return f"{option} must come after {self._get_positional_actions()[0].metavar}"
            near = difflib.get_close_matches(option, known, n=1)
            return f"unknown option {option}" + (f", did you mean {near[0]}?" if near else "")
        return ""

    def _options(self) -> Iterator[str]:
        """Long options that this parser itself was to read: not those of a command below it."""
        for word in itertools.takewhile(lambda word: word != "--", self._given):
            if word.startswith("--"):
                yield word.partition("=")[0]
            elif not word.startswith("-") and (self._subparsers is not None or self._leaves_rest()):
                return

    def _leaves_rest(self) -> bool:
        """Whether what follows the first argument is read by another parser."""
        return any(action.nargs == argparse.REMAINDER for action in self._actions)
