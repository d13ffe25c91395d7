"""State that is shown in one form and linked in another.

A widget that Streamlit binds to the link writes the text it shows there. An encoder trained here is shown by its name
and linked by its id, so its widget keeps the link by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st


def restore(key: str, default: Sequence[str]) -> None:
    """Before the widget: the first run of a session takes its value from the link, else the default.

    Args:
        key: Of the widget and in the link.
        default: Values when the link names none.
    """
    if key not in st.session_state:
        st.session_state[key] = st.query_params.get_all(key) or list(default)


def keep(key: str, values: Sequence[str], default: Sequence[str]) -> None:
    """After the widget: the link says what was chosen, and nothing where that is the default.

    Args:
        key: As for :func:`restore`.
        values: What was chosen.
        default: The same as for :func:`restore`.
    """
    wanted = [] if list(values) == list(default) else list(values)
    if st.query_params.get_all(key) == wanted:
        return
    if wanted:
        st.query_params[key] = wanted
    else:
        st.query_params.pop(key, None)
