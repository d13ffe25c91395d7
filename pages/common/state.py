"""What the sidebar chose, as the pages see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import streamlit as st

from anticollapse.cures import split_name
from anticollapse.data import PairSet
from anticollapse.encoding import Encoder
from anticollapse.errors import AntiCollapseError
from anticollapse.figures.style import Series, colours
from pages.common import work


@dataclass(frozen=True)
class Workbench:
    """The state of the sidebar.

    Attributes:
        pairs: The sentence pairs, or None when there are none that can be used.
        encoders: Names of the chosen encoders.
        fit_text: Unlabelled text for training-free cures.
        fit_name: What that text is called.
    """

    pairs: PairSet | None
    encoders: tuple[str, ...]
    fit_text: Callable[[], Sequence[str]]
    fit_name: str

    @property
    def series(self) -> list[Series]:
        """Name and colour of each encoder, the same on every page."""
        raw = [not _is_cured(name) for name in self.encoders]
        chosen = colours(self.encoders, raw)
        return [Series(name, chosen[name]) for name in self.encoders]

    def open(self) -> list[tuple[Series, Encoder]]:
        """Load the encoders; one that cannot be loaded is a message, and the others go on."""
        opened: list[tuple[Series, Encoder]] = []
        for name, series in zip(self.encoders, self.series, strict=True):
            try:
                opened.append((series, work.open_encoder(name, self.fit_text)))
            except AntiCollapseError as error:
                st.error(f"{escape(name)}: {escape(str(error))}", icon=":material/error:")
        return opened


def escape(text: str) -> str:
    """User text for Markdown: shown as it is, with no formatting, links, formulas or icons."""
    return "".join(f"\\{char}" if char in "\\`*_{}[]()<>#+-.!|$~:" else char for char in text)


def current() -> Workbench:
    """The state that the sidebar left for this run."""
    found = st.session_state["_workbench"]
    if not isinstance(found, Workbench):
        raise TypeError(found)
    return found


def _is_cured(name: str) -> bool:
    try:
        return bool(split_name(name).cure)
    except AntiCollapseError:
        return False
