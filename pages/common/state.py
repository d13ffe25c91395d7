"""What the sidebar chose, as the pages see it."""

from __future__ import annotations

import runpy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from anticollapse.cures import split_name
from anticollapse.data import PairSet
from anticollapse.encoding import Encoder
from anticollapse.errors import AntiCollapseError
from anticollapse.figures.style import Series, colours
from pages.common import training, work


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
        raw = [not (_is_cured(name) or training.is_trained(name)) for name in self.encoders]
        chosen = colours(self.encoders, raw)
        return [Series(training.label(name), chosen[name]) for name in self.encoders]

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
    """The state that the sidebar left for this run.

    The first link to a page that a fresh server is asked for runs the page's file alone, because Streamlit learns of
    st.navigation only when app.py has run once. Then app.py is run from here, which draws the page itself.
    """
    found = st.session_state.get("_workbench")
    if not isinstance(found, Workbench):
        runpy.run_path(str(Path(__file__).resolve().parents[2] / "app.py"))
        st.stop()
    return found


def _is_cured(name: str) -> bool:
    try:
        return bool(split_name(name).cure)
    except AntiCollapseError:
        return False
