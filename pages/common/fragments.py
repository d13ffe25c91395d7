"""Parts of a page that are drawn anew on their own, without disturbing what stands below them."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec

import streamlit as st

P = ParamSpec("P")


def draw(function: Callable[P, None], every: float | None, *args: P.args, **kwargs: P.kwargs) -> None:
    """Draw a function's output as a fragment.

    A fragment asked for while the whole page is being drawn runs right after it, and Streamlit then throws away what
    the page had not yet sent of that fragment: its container too. The browser clears the old container, everything
    below moves up one place, and the fragment's answer overwrites the first element below it: a page without its
    title. Inside a container that is not the fragment's, nothing can move.

    Args:
        function: Draws the part.
        every: Seconds between two times it is drawn; None for on demand alone.
        args: Arguments of the function.
        kwargs: Arguments of the function.
    """
    with st.container():
        st.fragment(function, run_every=every)(*args, **kwargs)
