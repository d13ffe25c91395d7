"""State that is shown in one form and linked in another.

A widget that Streamlit binds to the link writes the text it shows there. An encoder trained here is shown by its name
and linked by its id, so its widget keeps the link by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import streamlit as st
from streamlit.errors import StreamlitAPIException

from anticollapse.data import PairSet

WANTED_ROW = "_row_wanted"


def restore(key: str, default: Sequence[str], *, of_one: bool = False) -> None:
    """Before the widget: the first run of a session takes its value from the link, else the default.

    Whoever chose nothing, neither in the widget nor by the link, has the default also when that changes, as with other
    data. The widget tells by :func:`was_chosen` as its ``on_change``, and so does code that sets it.

    Args:
        key: Of the widget and in the link.
        default: Values when the link names none.
        of_one: Whether the widget holds one value and not a list of them.
    """
    if key not in st.session_state:
        linked = st.query_params.get_all(key)
        st.session_state[f"_{key}_chosen"] = bool(linked)
        value = linked or list(default)
    elif not st.session_state.get(f"_{key}_chosen"):
        value = list(default)
    else:
        return
    st.session_state[key] = value[-1] if of_one else value


def was_chosen(key: str) -> None:
    """Somebody chose a widget's value, so it stays when its default changes.

    Args:
        key: Of the widget.
    """
    st.session_state[f"_{key}_chosen"] = True


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


def open_pair(pairs: PairSet, row: int, side: Sequence[str] = ()) -> NoReturn:
    """Go to the Tokens page with one pair.

    Streamlit refuses to carry over what widgets are bound to (they keep their values by themselves), so the link gets
    the pair alone, and the session remembers it where even that is refused.

    Args:
        pairs: The set.
        row: Row of the pair in it.
        side: Encoders to show side by side; none leaves the choice as it is.
    """
    st.session_state[WANTED_ROW] = (pairs.digest, row)
    link: dict[str, str | list[str]] = {"row": str(row)}
    if encoders := st.query_params.get_all("encoders"):
        link["encoders"] = encoders
    if side:
        link["side"] = list(side)
    try:
        st.switch_page("pages/tokens.py", query_params=link)
    except StreamlitAPIException:
        st.switch_page("pages/tokens.py", query_params={})


def wanted_row(pairs: PairSet, otherwise: int) -> int:
    """The row that was last asked for with :func:`open_pair`.

    Args:
        pairs: The set.
        otherwise: The row when none was asked for in this set.
    """
    digest, row = st.session_state.get(WANTED_ROW, ("", otherwise))
    return row if digest == pairs.digest else otherwise
